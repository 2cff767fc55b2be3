"""What the marks do where the truth is known: simulated tables in which nothing differs.

Values are block luck + noise, of normal, t (four degrees of freedom) or lognormal (σ = 1) law,
each column's deviations stretched by its spread; a share `luck` of the variance is the block's.
Twelve independent rows: two headlines, eight others, two of cost, whose logarithms are drawn.
Then what the planned looks add, all of them taken or those that the table itself advises, and how
often a pair at the margin's edge is called equal. A bar holds where the upper bound of the worst
line does; the command ends with code 1 where one does not.

    python bench/marks.py          all of it, half an hour; figures of docs/decisions/0012 and 0013
    python bench/marks.py 200      with so many tables a line, whose bounds are wide
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType

import numpy as np

from kurabe.comparison import p_values, t_tests
from kurabe.comparison.metrics import METRICS
from kurabe.comparison.simulated_tables import Share
from kurabe.comparison.verdicts import decide, verdicts_of
from kurabe.planned_looks import planned_looks

ROWS = (
    "kid", "linear-probe", "density", "diversity", "held-out-loss", "nearest-to-training",
    "loss-gap", "alignment", "uniformity", "forgetting-loss", "seconds", "peak-memory",
)  # fmt: skip
SPREADS = (
    (1, 1), (10, 1), (1, 1, 1), (10, 1, 1), (1, 1, 10), (1, 1, 1, 1), (10, 1, 1, 1), (1, 1, 1, 10),
    (1, 10, 1, 10), (1,) * 5, (10, 1, 1, 1, 1), (1,) * 6, (10, 1, 1, 1, 1, 1), (1, 1, 1, 1, 1, 10),
)  # fmt: skip
LAWS = ("normal", "t4", "lognormal")
# Values stand around this, so that relative margins are wide and logarithms can be taken.
LEVEL = 100.0
# At most so many tables with a false "≠", or a false "≈".
BAR = 0.075
EQUAL_BAR = 0.05
LOOKED_AT = ((1, 1), (1, 1, 1, 1), (10, 1, 1), (10, 1, 1, 1), (1, 1, 1, 1, 1), (10, 1, 1, 1, 1))
Rows = dict[str, dict[str, dict[int, float]]]


def draw(rng: np.random.Generator, law: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values of mean 0 and variance 1."""
    if law == "t4":
        return rng.standard_t(4, shape) / np.sqrt(2)
    if law == "lognormal":
        # Variance e (e − 1).
        return (np.exp(rng.standard_normal(shape)) - np.exp(0.5)) / np.sqrt(np.e * (np.e - 1))
    return rng.standard_normal(shape)


def table(
    rng: np.random.Generator,
    law: str,
    spreads: Sequence[float],
    blocks: int,
    luck: float,
    together: float = 0.0,
) -> Rows:
    """The rows of one table in which nothing differs.

    together: the share of a run's own variance that all of its rows have in common.
    """
    columns = len(spreads)
    common, own = (draw(rng, law, (len(ROWS), n, blocks)) for n in (1, columns))
    if together:
        own = np.sqrt(together) * draw(rng, law, (1, columns, blocks)) + (
            np.sqrt(1 - together) * own
        )
    values = (np.sqrt(luck) * common + np.sqrt(1 - luck) * own) * np.array(spreads)[None, :, None]
    found: Rows = {}
    for row, of in zip(ROWS, values, strict=True):
        cost = METRICS[row].section == "cost"
        of = np.exp(of / 20) if cost else LEVEL + of
        found[row] = {
            str(c): dict(enumerate(values.tolist(), start=1)) for c, values in enumerate(of)
        }
    return found


def false(
    law: str, spreads: Sequence[float], blocks: int, luck: float, tables: int, whole: bool = False
) -> Share:
    """Tables with any false "≠" at the first look, or at any planned one up to `blocks`."""
    rng = np.random.default_rng([LAWS.index(law), len(spreads), blocks, round(10 * luck)])
    plan = planned_looks(5) if whole else planned_looks(blocks)
    wrong = sum(
        bool((decide(table(rng, law, spreads, blocks, luck), "0", looks=plan).differs >= 0).any())
        for _ in range(tables)
    )
    return Share(wrong, tables)


def followed(law: str, spreads: Sequence[float], luck: float, tables: int) -> Share:
    """Tables with any false "≠" where a reader adds the blocks that open headline rows ask for,
    the next planned look where none is expected to tell, until none is open or 20 are there."""
    rng = np.random.default_rng([LAWS.index(law), len(spreads), 99, round(10 * luck)])
    plan = planned_looks(5)
    wrong = 0
    for _ in range(tables):
        rows, at = table(rng, law, spreads, plan[-1], luck), plan[0]
        while True:
            there: Rows = {
                row: {c: {b: v for b, v in of.items() if b <= at} for c, of in columns.items()}
                for row, columns in rows.items()
            }
            procedure = decide(there, "0", looks=plan)
            verdicts = verdicts_of(procedure, there)
            asked = [v for key in procedure.heads for v in verdicts[key] if v.mark == "?"]
            if not asked or at == plan[-1]:
                break
            following = plan[plan.index(at) + 1]
            at = max((v.blocks_needed for v in asked if v.blocks_needed), default=following)
        wrong += bool((procedure.differs >= 0).any())
    return Share(wrong, tables)


def false_equal(columns: int, blocks: int, tables: int) -> Share:
    """Tables with any "≈" where, in every row, every pair lies at the margin's edge or beyond.

    Columns stand at multiples of the margin; spreads are a tenth of it.
    """
    rng = np.random.default_rng([columns, blocks])
    wrong = 0
    for _ in range(tables):
        rows: Rows = {}
        for row in ("linear-probe", "knn", "density", "uniformity"):
            margin = METRICS[row].margin
            values = rng.normal(0, margin / 10, (columns, blocks))
            values += margin * np.arange(columns)[:, None]
            rows[row] = {
                str(c): dict(enumerate(of.tolist(), start=1)) for c, of in enumerate(values)
            }
        wrong += bool((decide(rows, "0").equal >= 0).any())
    return Share(wrong, tables)


@contextmanager
def changed(module: ModuleType, **values: float) -> Iterator[None]:
    """Constants of a module that are others for a while."""
    before = {key: getattr(module, key) for key in values}
    for key, value in values.items():
        setattr(module, key, value)
    try:
        yield
    finally:
        for key, value in before.items():
            setattr(module, key, value)


def shown(spreads: Sequence[float]) -> str:
    return ",".join(map(str, spreads))


def held(name: str, worst: float, bar: float) -> bool:
    print(f"{name}: largest upper bound {worst:.1%}, bar {bar:.1%}: ", end="")
    print("held" if worst <= bar else "not held", flush=True)
    return worst <= bar


def first_looks(tables: int) -> float:
    print(f"{tables} tables a cell: any false ≠ (95 % upper bound), luck 0 and .5")
    worst = 0.0
    for law in LAWS:
        for blocks in (3, 5, 7, 10):
            for spreads in SPREADS:
                cells = [false(law, spreads, blocks, luck, tables) for luck in (0.0, 0.5)]
                said = "  ".join(f"{of.share:6.1%} ({of.upper():.1%})" for of in cells)
                print(f"{law:9} {blocks:3} blocks  {shown(spreads):12} {said}", flush=True)
                worst = max(worst, *(of.upper() for of in cells))
    return worst


def all_looks(tables: int) -> float:
    print("looks after 5, 7, 10, 15 and 20 blocks, all of them taken; only those that are advised")
    worst = 0.0
    for law in LAWS:
        for spreads in LOOKED_AT:
            cells = [
                of
                for luck in (0.0, 0.5)
                for of in (
                    false(law, spreads, 20, luck, tables, whole=True),
                    followed(law, spreads, luck, tables),
                )
            ]
            said = "  ".join(f"{of.share:6.1%} ({of.upper():.1%})" for of in cells)
            print(f"{law:9} {shown(spreads):12} {said}", flush=True)
            worst = max(worst, *(of.upper() for of in cells))
    return worst


def without_parts(tables: int) -> None:
    print("lognormal, five blocks, luck .5: without strictness; and all of a variance lent")
    for spreads in SPREADS:
        with changed(p_values, SKEW_RATE=0.0):
            bare = false("lognormal", spreads, 5, 0.5, tables)
        with changed(t_tests, LENT_UP=1.0, LENT_DOWN=1.0):
            lent = false("lognormal", spreads, 5, 0.5, tables)
        print(f"{shown(spreads):12} {bare.share:6.1%}  {lent.share:6.1%}", flush=True)


def rows_together(tables: int) -> None:
    """No bar: where a run's rows vary as one, they know less of skewness than so many would."""
    print("half of a run's own variance common to its rows, luck .5: five blocks; all looks;")
    print("and of the ≠ in other rows those that are false, both headline rows differing")
    for law in LAWS:
        for spreads in ((1, 1, 1, 1), (10, 1, 1), (10, 1, 1, 1, 1)):
            rng = np.random.default_rng([LAWS.index(law), len(spreads), 77])
            five, whole, beside = [], [], []
            for _ in range(tables):
                rows = table(rng, law, spreads, 20, 0.5, together=0.5)
                whole.append((decide(rows, "0", looks=planned_looks(5)).differs >= 0).any())
                first = {
                    row: {c: {b: of[b] for b in range(1, 6)} for c, of in columns.items()}
                    for row, columns in rows.items()
                }
                five.append((decide(first, "0").differs >= 0).any())
                for head in ("kid", "linear-probe"):
                    for place, of in enumerate(first[head].values()):
                        of.update({block: value + 1e3 * place for block, value in of.items()})
                procedure = decide(first, "0")
                beside.append((procedure.differs[~procedure.head] >= 0).any())
            found = [Share(int(sum(of)), tables) for of in (five, whole, beside)]
            said = "  ".join(f"{of.share:6.1%} ({of.upper():.1%})" for of in found)
            print(f"{law:9} {shown(spreads):12} {said}", flush=True)


def edges(tables: int) -> float:
    print("any ≈ where all pairs lie at the margin's edge or beyond, four rows")
    worst = 0.0
    for columns in (2, 3, 4, 6):
        # Cheap tables, and a bar near what is spent: four times as many.
        of = false_equal(columns, 5, 4 * tables)
        print(f"{columns} columns {of.share:6.1%} ({of.upper():.1%})", flush=True)
        worst = max(worst, of.upper())
    return worst


def main(tables: int) -> int:
    """0 where every bar held, else 1."""
    firsts, looks = first_looks(tables), all_looks(tables)
    without_parts(tables)
    rows_together(tables)
    equal = edges(tables)
    told = [
        held("false ≠ at one look", firsts, BAR),
        held("false ≠ over planned looks", looks, BAR),
        held("false ≈ at the margin's edge", equal, EQUAL_BAR),
    ]
    return 0 if all(told) else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000))
