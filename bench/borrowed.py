"""How often a row shows a false "≠" when pairs borrow variance, whatever the columns' spreads.

Tables of one row in which nothing differs, all pairs at the weights of the gates, no Holm steps:
any p below its share of 5 %. Values are block luck (.3 of the variance) + noise, times a column's
spread; Gaussian, or t with four degrees of freedom. Figures of docs/decisions/0011:
python bench/borrowed.py
"""

import itertools

import numpy as np
from scipy import stats

from kurabe.comparison.families import LEVEL, PRIMARY_WEIGHT

TABLES = 20_000
LUCK = 0.3
LENT = (0.0, 0.25, 0.4, 0.5, 1.0, None)
CASES = (
    (3, (1, 1, 1)), (3, (10, 1, 1, 1)), (5, (1, 1, 1)), (5, (1, 1, 1, 4)), (5, (4, 1, 1, 1)),
    (5, (1, 1, 1, 10)), (5, (10, 1, 1, 1)), (5, (6, 1, 1, 1, 1, 1)), (10, (10, 1, 1, 1)),
)  # fmt: skip


def false_share(
    spreads: tuple[int, ...], blocks: int, lent: float | None, heavy: bool, seed: int = 1
) -> float:
    """The share of tables with any p below its level; lent None pools all variances into one."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_t(4, shape) / np.sqrt(2) if heavy else rng.standard_normal(shape)

    columns = len(spreads)
    luck, noise = draw(TABLES, blocks, 1), draw(TABLES, blocks, columns)
    values = (np.sqrt(LUCK) * luck + np.sqrt(1 - LUCK) * noise) * np.array(spreads)
    pairs = list(itertools.combinations(range(columns), 2))
    gaps = np.stack([values[..., j] - values[..., i] for i, j in pairs], 2)
    own = gaps.var(1, ddof=1)
    row = own.mean(1, keepdims=True)
    if lent is None:
        variance, df = np.broadcast_to(row, own.shape), (columns - 1) * (blocks - 1)
    else:
        variance, df = (own + lent * row) / (1 + lent), (1 + lent) * (blocks - 1)
    p = 2 * stats.t.sf(abs(gaps.mean(1)) / np.sqrt(variance / blocks), df)
    primary = np.array([i == 0 for i, _ in pairs])
    share = np.where(primary, PRIMARY_WEIGHT, 1 - PRIMARY_WEIGHT)
    weights = share / np.where(primary, primary.sum(), (~primary).sum())
    return float((p < LEVEL * weights).any(1).mean())


def main() -> None:
    print("blocks  spreads  " + "  ".join("pooled" if v is None else f"{v:g} d" for v in LENT))
    for blocks, spreads in CASES:
        shares = [
            f"{false_share(spreads, blocks, lent, False):.1%} "
            f"({false_share(spreads, blocks, lent, True):.1%})"
            for lent in LENT
        ]
        print(f"{blocks:6}  {', '.join(map(str, spreads))}  {'  '.join(shares)}", flush=True)


if __name__ == "__main__":
    main()
