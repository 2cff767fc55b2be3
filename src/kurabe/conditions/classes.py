"""Classes as a condition: an image's label, learned as a vector of its own.

The table of vectors is new wherever a run begins, and each row starts as the one for "nothing is
said", so that a base draws what it drew until training tells the classes apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from kurabe.errors import UserError
from kurabe.methods.card import Text
from kurabe.methods.settings import ConditionChoice
from kurabe.randomness import uniform
from kurabe.registry import Idea

if TYPE_CHECKING:
    from kurabe.data import ImageSet


class ByClass(ConditionChoice):
    """The label of each image; those without one are told nothing."""

    says = Text(
        ja="クラスラベル（学習時に {dropped:.0%} を伏せる）",
        en="The class label ({dropped:.0%} withheld in training)",
    )

    kind: Literal["class"] = "class"


@dataclass(frozen=True)
class Classes:
    """The classes of a run's training images and how many images each had.

    A class is told by its place here; `none`, the number behind the last, tells nothing.
    """

    counts: Mapping[str, int]

    @classmethod
    def of(cls, images: ImageSet, training: NDArray[np.int64]) -> Classes:
        """The classes of these images; UserError where none of them has a label."""
        if images.labels is None or not (images.labels[training] >= 0).any():
            raise UserError(
                f"{images.name} has no labels, and this method is told the class of each image; "
                "put the images into a folder a class, or name a table with --labels."
            )
        found = images.labels[training]
        return cls(
            {name: int((found == place).sum()) for place, name in enumerate(images.label_names)}
        )

    @property
    def none(self) -> int:
        return len(self.counts)

    def number(self, name: str) -> int:
        """The place of the class of that name; UserError that lists them where there is none."""
        if name not in self.counts:
            known = ", ".join(list(self.counts)[:20])
            raise UserError(f"There is no class '{name}'; there are {known}.")
        return list(self.counts).index(name)

    def drawn(self, seeds: Sequence[int]) -> NDArray[np.int64]:
        """A class for each sample, (N,): a function of its seed, as often as in training."""
        counts = np.array(list(self.counts.values()), dtype=np.float64)
        ends = np.cumsum(counts)
        ends /= ends[-1]
        return np.searchsorted(ends, uniform(0, "sample class", seeds), side="right")

    def told(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """What the network is told for labels (N,), −1 where an image has none."""
        return np.where(labels < 0, self.none, labels)


IDEAS = (Idea("conditions", "class", f"{__name__}:Classes", ByClass),)
