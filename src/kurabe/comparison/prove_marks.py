"""The A/A study on real runs: whole tables dealt from them, and the figures to be published.

python -m kurabe.comparison.prove_marks STUDYFOLDER OUT       from the runs of recipes/a-a.toml
python -m kurabe.comparison.prove_marks OUT                   from the pool that lies there

The columns of that study are one method with other random weights; its blocks are shared. Its
runs are the pool of `kurabe.comparison.simulated_tables`. OUT gets pool.json, every run's values,
and proof.json, which `kurabe.comparison.published_figures` reads.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kurabe.comparison.metrics import METRICS, headlines
from kurabe.comparison.published_figures import Proof, Result
from kurabe.comparison.results import StudyResults, read_results
from kurabe.comparison.simulated_tables import DealtShare, Run, Shares, dealt, shared_luck
from kurabe.errors import UserError
from kurabe.files import write_json_atomic
from kurabe.planned_looks import planned_looks
from kurabe.records import StudyFolder

BLOCKS = 5
GAP = 3.0
# A column's spread beside its neighbour's where unequal spreads are tried.
UNEQUAL = (1.0, 3.0)


def pool_of(results: StudyResults) -> tuple[list[Run], tuple[str, ...]]:
    """The finished runs of blocks in which every column finished, and the rows all of them have.

    Rows without spread are compared exactly and are no tests: they are left out.
    """
    blocks = [
        block
        for block in sorted({block for _, block in results.runs})
        if all(
            (run := results.runs.get((column.id, block))) is not None and run.status == "finished"
            for column in results.columns
        )
    ]
    tested = {
        metric: values
        for metric, values in results.measured.items()
        if METRICS[metric].scale in ("linear", "log")
        and all(block in values[column.id] for column in results.columns for block in blocks)
    }
    pool: list[Run] = [
        {"block": block, **{metric: of[column.id][block] for metric, of in tested.items()}}
        for block in blocks
        for column in results.columns
    ]
    return pool, tuple(tested)


def prove(pool: Sequence[Run], rows: tuple[str, ...], tables: int = 2000) -> Proof:
    """The figures of tables dealt from a pool; ValueError where it is too small.

    Tables have from two columns to as many as every block has runs.
    """
    heads = headlines(dict.fromkeys(rows, range(len(pool))))
    blocks = len({run["block"] for run in pool})
    plan = tuple(look for look in planned_looks(BLOCKS) if look <= blocks)
    widths = range(2, len(pool) // max(1, blocks) + 1)

    def at_first(columns: int, *planted: str, spreads: tuple[float, ...] = (1.0,)) -> Shares:
        return dealt(
            pool, rows, planted=planted, gap=GAP, columns=columns, looks=(BLOCKS,), plan=plan,
            tables=tables, spreads=spreads,
        )  # fmt: skip

    def by_columns(shares: Mapping[int, DealtShare]) -> tuple[Result, ...]:
        return tuple(Result.of(share, columns) for columns, share in shares.items())

    false = {n: at_first(n) for n in widths}
    one = {(n, head): at_first(n, head) for n in widths for head in heads}
    half = [heads[0], *[row for row in rows if row not in heads][::2]] if heads else rows[::2]
    return Proof(
        runs=len(pool),
        blocks=blocks,
        blocks_per_table=BLOCKS,
        looks=plan,
        gap=GAP,
        rows=rows,
        headlines=heads,
        false=by_columns({n: of.false for n, of in false.items()}),
        false_unequal=by_columns({n: at_first(n, spreads=UNEQUAL).false for n in widths}),
        false_looks=by_columns(
            {n: dealt(pool, rows, columns=n, looks=plan, tables=tables).false for n in widths}
        ),
        false_rows={row: share.share for row, share in false[widths[-1]].by_metric.items()},
        false_beside=tuple(Result.of(of.false, n, head) for (n, head), of in one.items()),
        false_marks=by_columns({n: at_first(n, *half).of_marks for n in widths}),
        found=tuple(Result.of(of.found[head], n, head) for (n, head), of in one.items()),
        shared_luck={row: shared_luck(pool, row) for row in rows},
    )


def write(out: Path, proof: Proof, pool: Sequence[Run]) -> None:
    """pool.json and proof.json, each replaced whole."""
    out.mkdir(parents=True, exist_ok=True)
    values: dict[str, Any] = {"schema": 1, "rows": proof.rows, "runs": pool}
    write_json_atomic(out / "pool.json", values)
    write_json_atomic(out / "proof.json", proof.model_dump(mode="json"))


def main(out: Path, study: Path | None) -> None:
    """Make the figures, write them and say the sentence."""
    try:
        if study is not None:
            pool, rows = pool_of(read_results(StudyFolder(study)))
        else:
            known = json.loads((out / "pool.json").read_text("utf-8"))
            pool, rows = known["runs"], tuple(known["rows"])
        proof = prove(pool, rows)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{study or out} holds no A/A study to deal tables from: {error}."
        ) from None
    write(out, proof, pool)
    print(proof.sentence("en"))
    for name in ("false", "false_unequal", "false_looks", "false_beside", "false_marks", "found"):
        for of in getattr(proof, name):
            bounds = f"{of.share:.3f}  {of.lower:.3f}–{of.upper:.3f}"
            print(f"  {name:14} {of.columns} columns  {of.metric or '':14} {bounds}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("python -m kurabe.comparison.prove_marks [STUDYFOLDER] OUT")
    try:
        main(Path(sys.argv[-1]), Path(sys.argv[1]) if len(sys.argv) == 3 else None)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(UserError.exit_code)
