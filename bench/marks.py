"""What the marks do where the truth is known: simulated tables in which nothing differs, and gaps.

Values are block luck + noise, Gaussian; `shared` is luck's part of the variance, `correlated` the
part of both that a table's rows have in common. Rows are those of a study with labels; times and
memory vary by a twentieth. Figures of docs/decisions/0006: python bench/marks.py
"""

import numpy as np

from kurabe.comparison.metrics import METRICS
from kurabe.comparison.proof import nothing_differs, planted_gap

ROWS = (
    "kid", "precision", "recall", "coverage", "held-out-loss", "near-copies", "knn",
    "linear-probe", "few-shot-10", "own-view-recall", "seconds", "peak-memory",
)  # fmt: skip
BLOCKS, RUNS = 2000, 4


def pool(shared: float, correlated: float, seed: int = 0) -> list[dict[str, float]]:
    """Runs of many blocks in which every row has mean 10 and variance 1, cost a twentieth."""
    rng = np.random.default_rng(seed)

    def draws(*shape: int) -> np.ndarray:
        common, own = rng.normal(size=(*shape, 1)), rng.normal(size=(*shape, len(ROWS)))
        return np.sqrt(correlated) * common + np.sqrt(1 - correlated) * own

    values = np.sqrt(shared) * draws(BLOCKS, 1) + np.sqrt(1 - shared) * draws(BLOCKS, RUNS)
    scale = np.array([0.5 if METRICS[row].section == "cost" else 1.0 for row in ROWS])
    return [
        {"block": block, **dict(zip(ROWS, (10 + scale * run).tolist(), strict=True))}
        for block, runs in enumerate(values)
        for run in runs
    ]


def main() -> None:
    print(
        "shared correlated spreads columns | any ≠  upper bound | gap of 3 sd: alone, in the table"
    )
    for shared in (0.0, 0.5, 0.8):
        for correlated in (0.0, 0.8):
            runs = pool(shared, correlated)
            for spreads in ((1.0,), (1.0, 3.0)):
                for columns in (2, 3, 4):
                    false = nothing_differs(runs, ROWS, columns=columns, spreads=spreads).anywhere
                    found = [
                        planted_gap(runs, row, metrics=("kid", "linear-probe"), columns=columns)
                        for row in ("kid", "linear-probe")
                        if spreads == (1.0,)
                    ]
                    print(
                        f"{shared:6} {correlated:10} {'1, 3' if spreads[1:] else '1':>7} "
                        f"{columns:7} | {false.share:5.1%} {false.upper():12.1%} | "
                        + "  ".join(f"{share.share:.1%}" for share in found),
                        flush=True,
                    )


if __name__ == "__main__":
    main()
