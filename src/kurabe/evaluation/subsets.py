"""Which images each measurement sees: fixed draws from the split's three parts.

A draw depends on the data set's size and the part alone, so that all runs of a block measure on the
same images. Labels choose images for the label rows only (an unlabelled image cannot serve
there), never for any other.
"""

import numpy as np

from kurabe.data import ImageSet, Split
from kurabe.data.images import UNLABELLED
from kurabe.data.views import view
from kurabe.evaluation.feature_rows import Labelled, Labels, Material, Views
from kurabe.evaluation.model_features import Pictures
from kurabe.randomness import generator, permutation
from kurabe.recipe import Evaluation


def drawn(index: np.ndarray, count: int, purpose: str) -> np.ndarray:
    """At most `count` of the images at `index`, in rising order."""
    order = permutation(0, f"evaluated {purpose}", 0, len(index))
    return np.sort(index[order[:count]])


def pictures(images: ImageSet, index: np.ndarray) -> Pictures:
    """The images at index as they are."""
    return Pictures(images.pixels[index], index)


def views(images: ImageSet, index: np.ndarray, policy: str, count: int) -> Views:
    """The images at index and `count` augmented views of each, the same for every run."""
    own = pictures(images, index)
    augmented = []
    for number in range(1, count + 1):
        pixels = [
            view(image, generator(0, "evaluated view", int(position), number), policy)
            for image, position in zip(own.pixels, index, strict=True)
        ]
        augmented.append(Pictures(np.stack(pixels), index, number))
    return Views(own, tuple(augmented))


def gather(images: ImageSet, split: Split, settings: Evaluation) -> Material:
    """The images that features are measured on."""
    galleries = [
        views(
            images, drawn(part, settings.gallery_images, name), settings.view_policy, settings.views
        )
        for name, part in (("validation", split.validation), ("test", split.test))
    ]
    return Material(galleries[0], galleries[1], _labels(images, split, settings))


def _labels(images: ImageSet, split: Split, settings: Evaluation) -> Labels | None:
    """The labelled images by role; None where they cannot fit, choose and test a classifier."""
    labels = images.labels
    if labels is None:
        return None
    known = labels != UNLABELLED
    train, validation, test = (
        part[known[part]] for part in (split.train, split.validation, split.test)
    )
    train = drawn(train, settings.probe_images, "train")
    classes = np.unique(labels[train])
    if len(classes) < 2 or not len(validation) or not len(test):
        return None
    search = drawn(train, settings.search_images, "search")
    held = drawn(validation, settings.search_images, "validation")
    tested = drawn(test, settings.test_images, "test")

    def labelled(index: np.ndarray) -> Labelled:
        return Labelled(pictures(images, index), _renumbered(labels, index, classes))

    return Labels(len(classes), labelled(search), labelled(train), labelled(held), labelled(tested))


def _renumbered(labels: np.ndarray, index: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Labels as places in `classes`; −1 for one that is not among them."""
    own = labels[index]
    place = np.searchsorted(classes, own).clip(max=len(classes) - 1)
    return np.where(classes[place] == own, place, -1)
