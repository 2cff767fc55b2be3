"""A few labels in, a label and its probabilities for every image out.

Features are a run's or a base's. Where they are taken, the given labels choose alone: of all
layers, noise levels and grids the place at which the labelled images predict each other best, left
out in turn; with one label a class the place declared beforehand. The classifier is logistic
regression at C = 1 on features standardised over all images, as in the rows of few labels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kurabe.data import ImageSet
from kurabe.data.images import UNLABELLED
from kurabe.errors import UserError
from kurabe.evaluation.feature_rows import ModelSource
from kurabe.evaluation.model_features import Pictures, Place
from kurabe.evaluation.probes import FEW_SHOT_STRENGTH, Standard, left_out_error, logistic
from kurabe.recipe import Evaluation
from kurabe.training import Model


@dataclass(frozen=True)
class Labelled:
    """classes: names, of those that were given. given: int64 (N,), −1 where none was.
    probabilities: float64 (N, classes), rows that sum to 1. place: where features were taken."""

    classes: tuple[str, ...]
    given: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    place: Place

    @property
    def guess(self) -> NDArray[np.int64]:
        """For each image the given class, else the likeliest."""
        return np.where(self.given >= 0, self.given, self.probabilities.argmax(1))

    @property
    def order(self) -> NDArray[np.int64]:
        """Images without a label, those first of whose class least is known."""
        asked = np.flatnonzero(self.given < 0)
        return asked[np.argsort(self.probabilities[asked].max(1), kind="stable")]


def label_images(model: Model, images: ImageSet, draws: int = 4) -> Labelled:
    """UserError where fewer than two classes have a label."""
    labels = np.full(len(images), UNLABELLED) if images.labels is None else images.labels
    known = np.flatnonzero(labels != UNLABELLED)
    used = np.unique(labels[known])
    if len(used) < 2:
        named = "none" if not len(used) else images.label_names[used[0]]
        raise UserError(
            f"Labels of two classes at least tell images apart, and {images.name} has labels of "
            f"{named}; give --labels a CSV with file,label that names images of each class."
        )
    own = np.searchsorted(used, labels[known])
    source = ModelSource(model, _tried(draws))
    everything = Pictures(images.pixels, np.arange(len(images)))
    few = Pictures(images.pixels[known], known)
    place = _place(source, few, own, len(used))
    vectors = source.features(everything, place)
    x = Standard.of(vectors)(vectors)
    scores = logistic(x[known], own, len(used), FEW_SHOT_STRENGTH)(x)
    given = np.full(len(images), -1)
    given[known] = own
    names = tuple(images.label_names[k] for k in used)
    return Labelled(names, given, scores.softmax(1).cpu().numpy(), place)


def _tried(draws: int) -> Evaluation:
    """The places that are tried wherever features are measured, with so many draws of noise."""
    return Evaluation().model_copy(update={"draws": draws})


def _place(source: ModelSource, few: Pictures, labels: NDArray[np.int64], classes: int) -> Place:
    if np.bincount(labels).min() < 2:
        return source.default

    def error(place: Place) -> float:
        vectors = source.features(few, place)
        return left_out_error(Standard.of(vectors)(vectors), labels, classes)

    # Of equal errors the place declared beforehand, then the coarser grid.
    return min(source.places, key=lambda at: (error(at), at != source.default, at.grid))
