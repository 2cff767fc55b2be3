"""The A/A study on real runs: whole tables dealt from them, and the figures to be published.

python -m kurabe.comparison.proving STUDYFOLDER OUT       from the runs of recipes/a-a.toml

The columns of that study are one method with other random weights; its blocks are shared. Its
runs are the pool of `kurabe.comparison.proof`. OUT gets pool.json, every run's values, and
proof.json, which `kurabe.comparison.published` reads.
"""

import sys
from pathlib import Path
from typing import Any

from kurabe.comparison.metrics import METRICS, headlines
from kurabe.comparison.proof import NothingDiffers, Run, nothing_differs, planted_gap, shared_luck
from kurabe.comparison.published import Proof, Result
from kurabe.comparison.results import StudyResults, read_results
from kurabe.errors import UserError
from kurabe.files import write_json_atomic
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


def prove(results: StudyResults, tables: int = 1000) -> tuple[Proof, list[Run]]:
    """Deal the tables of an A/A study; the figures and the pool. ValueError where it is too small.

    Tables have from two columns to as many as the study.
    """
    pool, rows = pool_of(results)
    heads = headlines(rows)
    widths = range(2, len(results.columns) + 1)
    false: dict[int, NothingDiffers] = {}
    unequal: dict[int, NothingDiffers] = {}
    for n in widths:
        false[n] = nothing_differs(pool, rows, columns=n, blocks=BLOCKS, tables=tables)
        unequal[n] = nothing_differs(
            pool, rows, columns=n, blocks=BLOCKS, tables=tables, spreads=UNEQUAL
        )
    found = [
        Result.of(
            planted_gap(
                pool, head, metrics=heads, gap=GAP, columns=n, blocks=BLOCKS, tables=tables
            ),
            n,
            head,
        )
        for n in widths
        for head in heads
    ]
    proof = Proof(
        study=results.name,
        runs=len(pool),
        blocks=len({run["block"] for run in pool}),
        blocks_per_table=BLOCKS,
        gap=GAP,
        rows=rows,
        headlines=heads,
        false=tuple(Result.of(of.anywhere, n) for n, of in false.items()),
        false_unequal=tuple(Result.of(of.anywhere, n) for n, of in unequal.items()),
        false_rows={row: share.found for row, share in false[widths[-1]].by_metric.items()},
        found=tuple(found),
        shared_luck={row: shared_luck(pool, row) for row in rows},
    )
    return proof, pool


def write(out: Path, proof: Proof, pool: list[Run]) -> None:
    """pool.json and proof.json, each replaced whole."""
    out.mkdir(parents=True, exist_ok=True)
    values: dict[str, Any] = {"schema": 1, "rows": proof.rows, "runs": pool}
    write_json_atomic(out / "pool.json", values)
    write_json_atomic(out / "proof.json", proof.model_dump(mode="json"))


def main(study: str, out: str) -> None:
    """Make the figures, write them and say the sentence."""
    try:
        proof, pool = prove(read_results(StudyFolder(study)))
    except ValueError as error:
        raise UserError(f"{study} is no A/A study to deal tables from: {error}.") from None
    write(Path(out), proof, pool)
    print(proof.sentence("en"))
    for result in (*proof.false, *proof.found):
        print(f"  {result.columns} columns  {result.metric or 'any ≠'}  {result.share:.3f}  "
              f"{result.lower:.3f}–{result.upper:.3f}")  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("python -m kurabe.comparison.proving STUDYFOLDER OUT")
    try:
        main(*sys.argv[1:])
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(UserError.exit_code)
