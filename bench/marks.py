"""What the marks do where the truth is known: simulated tables in which nothing differs.

Values are block luck + noise, of normal, t (four degrees of freedom) or lognormal (σ = 1) law,
each column's deviations stretched by its spread; a share `luck` of the variance is the block's.
Twelve independent rows: two headlines, eight others, two of cost, whose logarithms are drawn.
Then what the planned looks add, and how often a pair at the margin's edge is called equal.

    python bench/marks.py          all of it, some minutes; figures of docs/decisions/0012 and 0013
    python bench/marks.py 200      with so many tables a line
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType

import numpy as np

from kurabe.comparison import differences, evidence
from kurabe.comparison.metrics import METRICS
from kurabe.comparison.proof import Share
from kurabe.comparison.verdicts import decide
from kurabe.looks import planned_looks

ROWS = (
    "kid", "linear-probe", "density", "diversity", "held-out-loss", "nearest-to-training",
    "loss-gap", "alignment", "uniformity", "forgetting-loss", "seconds", "peak-memory",
)  # fmt: skip
SPREADS = (
    (1, 1), (10, 1), (1, 1, 1), (10, 1, 1), (1, 1, 10), (1, 1, 1, 1), (10, 1, 1, 1), (1, 1, 1, 10),
    (1, 10, 1, 10), (1,) * 6, (10, 1, 1, 1, 1, 1), (1, 1, 1, 1, 1, 10),
)  # fmt: skip
LAWS = ("normal", "t4", "lognormal")
# Values stand around this, so that relative margins are wide and logarithms can be taken.
LEVEL = 100.0
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
    rng: np.random.Generator, law: str, spreads: Sequence[float], blocks: int, luck: float
) -> Rows:
    """The rows of one table in which nothing differs."""
    columns = len(spreads)
    common, own = (draw(rng, law, (len(ROWS), n, blocks)) for n in (1, columns))
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


def main(tables: int) -> None:
    print(f"{tables} tables a cell: any false ≠ (95 % upper bound), luck 0 and .5")
    for law in LAWS:
        for blocks in (3, 5, 7, 10):
            for spreads in SPREADS:
                cells = [false(law, spreads, blocks, luck, tables) for luck in (0.0, 0.5)]
                said = "  ".join(f"{of.share:6.1%} ({of.upper():.1%})" for of in cells)
                print(
                    f"{law:9} {blocks:3} blocks  {','.join(map(str, spreads)):12} {said}",
                    flush=True,
                )
    print("looks after 5, 7, 10, 15 and 20 blocks, all of them taken")
    for law in LAWS:
        for spreads in ((1, 1), (1, 1, 1, 1), (10, 1, 1)):
            of = false(law, spreads, 20, 0.5, tables, whole=True)
            print(f"{law:9} {','.join(map(str, spreads)):12} {of.share:6.1%} ({of.upper():.1%})")
    print("lognormal, five blocks, luck .5: without strictness; and all of a variance lent")
    for spreads in SPREADS:
        with changed(evidence, SKEW_RATE=0.0):
            bare = false("lognormal", spreads, 5, 0.5, tables)
        with changed(differences, LENT_UP=1.0, LENT_DOWN=1.0):
            lent = false("lognormal", spreads, 5, 0.5, tables)
        print(f"{','.join(map(str, spreads)):12} {bare.share:6.1%}  {lent.share:6.1%}", flush=True)
    print("any ≈ where all pairs lie at the margin's edge or beyond, four rows")
    for columns in (2, 3, 4, 6):
        of = false_equal(columns, 5, tables)
        print(f"{columns} columns {of.share:6.1%} ({of.upper():.1%})", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
