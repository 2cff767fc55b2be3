"""The measured rows: what each metric is called, which way is better, and its margin of relevance.

Margins are declared here, before any run: two values whose difference surely lies inside the
margin are practically equal. A margin is a property of a pair, whichever column is the baseline:
an absolute width, a share of the smaller of the two means, or a ratio where values are compared on
a log scale (times, sizes).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

Section = Literal["generation", "memorisation", "representation", "forgetting", "cost", "declared"]
Scale = Literal["linear", "log", "exact", "untested"]


@dataclass(frozen=True)
class Metric:
    """One measured row.

    Attributes:
        better: "up", "down", or None where neither way is better by itself.
        margin: absolute width inside which a difference does not matter.
        relative: the same as a share of the smaller of a pair's two means; the larger counts.
        floor_errors: margin in standard errors of the real-against-real floor; the largest of
            the three counts.
        scale: "linear" and "log" are tested on values and on their logarithms; "exact" has no
            spread and is compared as it is; "untested" may be shown but not compared between
            methods.
        unit: divides the value that is shown; its name stands in the label.
        decimals: digits after the point; None takes as many as the row needs.
        encoder: the encoder's name belongs to the row's.
        share: a share of images, which moves in steps of one over their number.
    """

    id: str
    section: Section
    ja: str
    en: str
    better: Literal["up", "down"] | None
    margin: float = 0.0
    relative: float = 0.0
    floor_errors: float = 0.0
    scale: Scale = "linear"
    unit: float = 1.0
    decimals: int | None = 3
    encoder: bool = False
    share: bool = False

    def label(self, lang: str) -> str:
        """The row's name in "ja" or "en"."""
        return self.ja if lang == "ja" else self.en


def _shares(section: Section, margin: float, *names: tuple[str, str, str]) -> list[Metric]:
    return [Metric(key, section, ja, en, "up", margin=margin, share=True) for key, ja, en in names]


def _counted(key: str, ja: str, en: str, unit: float = 1.0, scale: Scale = "exact") -> Metric:
    relative = 0.1 if scale == "log" else 0.0
    return Metric(key, "cost", ja, en, "down", 0, relative, 0, scale, unit, None)


_ALL = [
    Metric("feature-distance", "generation", "特徴距離", "Feature distance", "down",
           0, 0.1, 2, encoder=True),
    Metric("kid", "generation", "KID", "KID", "down", 0, 0.1, 2, encoder=True),
    Metric("fd", "generation", "FD", "FD", "down", 0, 0.1, 2, decimals=None, encoder=True),
    Metric("precision", "generation", "適合率", "Precision", "up", 0.02, encoder=True, share=True),
    Metric("recall", "generation", "再現率", "Recall", "up", 0.02, encoder=True, share=True),
    Metric("density", "generation", "密度", "Density", "up", 0.05, encoder=True),
    Metric("coverage", "generation", "被覆率", "Coverage", "up", 0.02, encoder=True, share=True),
    Metric("diversity", "generation", "クラスタ内の多様性", "Diversity inside clusters", "up",
           relative=0.05, encoder=True),
    Metric("held-out-loss", "generation", "ホールドアウト損失", "Held-out loss", "down",
           relative=0.01, decimals=4),
    Metric("near-copies", "memorisation", "複製に近い画像の割合", "Share of near-copies",
           "down", 0.02, share=True),
    Metric("nearest-to-training", "memorisation", "訓練画像に最も近い割合（偶然は .5）",
           "Share nearest to training (.5 by chance)", None, 0.05),
    Metric("loss-gap", "memorisation", "訓練と未使用画像の損失差", "Held-out minus training loss",
           "down", relative=0.1, decimals=4),
    *_shares("representation", 0.01,
             ("knn", "k 近傍（正解率）", "k-NN accuracy"),
             ("linear-probe", "線形プローブ（線形評価）", "Linear probe")),
    *_shares("representation", 0.02,
             ("few-shot-1", "少数ラベル分類（1 枚）", "Few-shot, 1 label a class"),
             ("few-shot-5", "少数ラベル分類（5 枚）", "Few-shot, 5 labels a class"),
             ("few-shot-10", "少数ラベル分類（10 枚）", "Few-shot, 10 labels a class"),
             ("own-view-recall", "拡張画像から元画像を検索", "Own-view recall")),
    Metric("alignment", "representation", "アラインメント", "Alignment", "down", relative=0.05),
    Metric("uniformity", "representation", "一様性", "Uniformity", "down", 0.05),
    Metric("rankme", "representation", "RankMe（同じ手法の間でのみ比較可）",
           "RankMe (compares runs of one method only)", None, scale="untested", decimals=1),
    Metric("forgetting-loss", "forgetting", "元ドメインのホールドアウト損失",
           "Source domain's held-out loss", "down", relative=0.01, decimals=4),
    Metric("forgetting-kid", "forgetting", "元ドメインの KID", "Source domain's KID",
           "down", 0, 0.1, 2, encoder=True),
    _counted("seconds", "学習時間（秒）", "Training, s", scale="log"),
    Metric("images", "cost", "学習した枚数", "Images seen", None, relative=0.1, scale="log",
           decimals=0),
    Metric("images-per-second", "cost", "枚/秒", "Images/s", "up", relative=0.1, scale="log",
           decimals=None),
    _counted("peak-memory", "最大メモリ使用量（MB）", "Peak memory, MB", 1e6, "log"),
    _counted("trainable-parameters", "学習対象パラメータ数（百万）", "Trainable parameters, M",
             1e6),
    _counted("total-parameters", "全パラメータ数（百万）", "Total parameters, M", 1e6),
    _counted("stored-bytes", "保存サイズ（MB）", "To store, MB", 1e6),
    _counted("seconds-per-sample", "生成 1 枚の時間（ms）", "A sampled image, ms", 1e-3, "log"),
    _counted("flops-per-image", "学習 1 枚の演算量（GFLOP）", "Training FLOPs an image, G", 1e9),
]  # fmt: skip

METRICS: dict[str, Metric] = {metric.id: metric for metric in _ALL}

# The rows that decide whether two columns differ at all, declared before any run: of each line the
# first that a study measures. Which that is depends on the images and their labels alone.
HEADLINES = (
    ("feature-distance", "kid", "held-out-loss"),
    ("linear-probe", "knn", "own-view-recall"),
)
# A row that came later leaves its place to the one before it in studies with runs of before then.
_CAME_AFTER = {"feature-distance": "kid"}


def headlines(measured: Mapping[str, Collection[object]]) -> tuple[str, ...]:
    """The headline rows of a study: images first, then features.

    measured: by metric, whatever tells apart the runs that have a value of it.
    """
    known = {key for key, runs in measured.items() if runs}
    for key, earlier in _CAME_AFTER.items():
        if not set(measured.get(earlier, ())) <= set(measured.get(key, ())):
            known.discard(key)
    found = (next((key for key in line if key in known), None) for line in HEADLINES)
    return tuple(key for key in found if key is not None)


def runs_of(rows: Mapping[str, Mapping[str, Collection[int]]]) -> dict[str, set[tuple[str, int]]]:
    """Which runs, by column and block, have a value of each metric."""
    return {
        key: {(column, block) for column, blocks in values.items() for block in blocks}
        for key, values in rows.items()
    }
