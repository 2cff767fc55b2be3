"""Measuring a representation: choose where features are taken on validation, report on test.

Every source of features is treated alike: a model offers many places (layer, log-SNR, grid), pixels
or an encoder offer one. Each row (k-NN, linear probe, own-view recall) takes the place that is
best on validation by its own score; beside it stand the place declared beforehand and the
label-free choice. A row of k labels a class chooses by those k alone. Test images are looked at
only after every choice is made.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from kurabe.evaluation.labelfree import (
    alignment,
    own_view_recall,
    rankme,
    reciprocal_rank,
    uniformity,
)
from kurabe.evaluation.model_features import (
    Cells,
    Model,
    Pictures,
    Place,
    extract,
    noise_share,
    usable_grids,
)
from kurabe.evaluation.probes import (
    Standard,
    accuracy,
    few_shot,
    knn_votes,
    label_draw,
    left_out_error,
    linear_probe,
    ridge_scores,
    right_share,
    squared_error,
)
from kurabe.recipe import Evaluation

# Feature arrays kept at once while places are tried; what is beyond is computed again.
_MEMORY = 1 << 30
FEW_SHOT_LABELS = (1, 5, 10)

Entry = dict[str, Any]


@dataclass(frozen=True)
class Labelled:
    """Pictures with labels int64 (N,) in range(classes), −1 for a class that train lacks."""

    pictures: Pictures
    labels: np.ndarray


@dataclass(frozen=True)
class Labels:
    """The labelled images by role; `search` is what places are tried on, a part of `train`."""

    classes: int
    search: Labelled
    train: Labelled
    validation: Labelled
    test: Labelled


@dataclass(frozen=True)
class Views:
    """Pictures and augmented views of them, row by row."""

    pictures: Pictures
    views: tuple[Pictures, ...]


@dataclass(frozen=True)
class Material:
    """What a representation is measured on; `labels` where there are any."""

    validation: Views
    test: Views
    labels: Labels | None


class Source(Protocol):
    """Anything that gives features."""

    @property
    def places(self) -> Sequence[Place]:
        """Where it gives features, those that share a pass next to each other."""
        ...

    @property
    def default(self) -> Place:
        """The place declared beforehand."""
        ...

    def features(self, pictures: Pictures, place: Place) -> np.ndarray:
        """Vectors (N, dim) of the pictures at a place."""
        ...

    def noise_share(self, pictures: Pictures, place: Place) -> float | None:
        """The part of the features' variance that fresh noise makes; None where there is none."""
        ...


class Fixed:
    """A source with one place: pixels, their principal components, an encoder."""

    def __init__(self, name: str, vectors: Callable[[Pictures], np.ndarray]) -> None:
        self.default = Place(name, float("inf"), 1)
        self.places = (self.default,)
        self._vectors = vectors

    def features(self, pictures: Pictures, place: Place) -> np.ndarray:
        """The same at every place and always."""
        return self._vectors(pictures)

    def noise_share(self, pictures: Pictures, place: Place) -> None:
        """No noise enters."""


class ModelSource:
    """A model's features at layers × log-SNRs × grids; one pass serves all layers and grids."""

    def __init__(self, model: Model, settings: Evaluation) -> None:
        self.model, self.settings = model, settings
        self.grids = usable_grids(model, settings.grids)
        # Places that share a pass stand together, so that few arrays are kept at a time.
        self.places = tuple(
            Place(layer, log_snr, grid)
            for log_snr in settings.log_snrs
            for layer in model.feature_layers
            for grid in self.grids
        )
        self.default = self._default()
        self._kept: dict[tuple[Any, ...], Cells] = {}

    def _default(self) -> Place:
        depth, log_snr, grid = self.settings.place
        layers = self.model.feature_layers
        nearest = min(self.settings.log_snrs, key=lambda level: abs(level - log_snr))
        grid = max((g for g in self.grids if g <= grid), default=self.grids[0])
        return Place(layers[round(depth * (len(layers) - 1))], nearest, grid)

    def features(self, pictures: Pictures, place: Place) -> np.ndarray:
        """From a pass that is kept for the other layers and grids."""
        key = (pictures.positions.tobytes(), pictures.view, place.log_snr)
        if key not in self._kept:
            while self._kept and self._bytes() > _MEMORY:
                self._kept.pop(next(iter(self._kept)))
            layers = self.model.feature_layers
            draws, batch = self.settings.draws, self.settings.batch
            self._kept[key] = extract(
                self.model, pictures, place.log_snr, layers, self.grids, draws, batch
            )
        return self._kept[key][place.layer, place.grid]

    def noise_share(self, pictures: Pictures, place: Place) -> float | None:
        """From two more draws of noise."""
        return noise_share(self.model, pictures, place, batch=self.settings.batch)

    def _bytes(self) -> int:
        return sum(v.nbytes for cells in self._kept.values() for v in cells.values())


@dataclass(frozen=True)
class Choices:
    """The place of each row, chosen on validation, and all validation scores by row and place."""

    scores: dict[str, dict[Place, float]]
    best: dict[str, Place]


def choose(source: Source, material: Material) -> Choices:
    """Try all places on validation; sees no test image.

    Of equal scores the place declared beforehand wins, then the coarser grid, then the order.
    """
    scores: dict[str, dict[Place, float]] = {}
    for place in source.places:
        for row, score in _validation_scores(source, material, place).items():
            scores.setdefault(row, {})[place] = score
    best = {
        row: max(by, key=lambda place: (by[place], place == source.default, -place.grid))
        for row, by in scores.items()
    }
    return Choices(scores, best)


def _validation_scores(source: Source, material: Material, place: Place) -> dict[str, float]:
    """Smooth stand-ins for the rows, since a few dozen images give accuracies in coarse steps.

    Own-view recall: mean reciprocal rank. k-NN: mean share of the vote for the right class.
    Linear probe: 1 − squared error of ridge regression on one-hot labels.
    """

    def vectors(pictures: Pictures) -> np.ndarray:
        return source.features(pictures, place)

    views = material.validation
    scores = {"own-view-recall": reciprocal_rank(
        vectors(views.pictures), [vectors(v) for v in views.views]
    )}  # fmt: skip
    if (labels := material.labels) is not None:
        train, held = vectors(labels.search.pictures), vectors(labels.validation.pictures)
        known, wanted = labels.search.labels, labels.validation.labels
        votes = knn_votes(train, known, held, labels.classes)
        scores["knn"] = right_share(votes, wanted)
        fits = ridge_scores(train, known, held, labels.classes)
        scores["linear-probe"] = max(1 - squared_error(fit, wanted) for fit in fits)
    return scores


def represent(
    source: Source, material: Material, settings: Evaluation, seed: int
) -> dict[str, Entry]:
    """All rows: metric id → value, n and detail; label rows where there are labels.

    seed: the block's, for the draw of few-shot labels.
    """
    choices = choose(source, material)
    rows = _label_free(source, material, choices)
    if material.labels is None:
        return rows
    return (
        rows
        | _classified(source, material.labels, choices)
        | _few_shots(source, material.labels, choices, settings.few_shot_draws, seed)
    )


def of_fixed(
    source: Fixed, material: Material, settings: Evaluation, seed: int
) -> dict[str, Entry]:
    """The rows of a source that has features of the images alone, not of augmented views."""
    place = source.default
    own = source.features(material.test.pictures, place)
    values = {"uniformity": uniformity(own), "rankme": rankme(own)}
    rows: dict[str, Entry] = {
        row: {"value": value, "n": len(own), "detail": _place(place)}
        for row, value in values.items()
    }
    labels = material.labels
    if labels is None:
        return rows
    # One place, so nothing was chosen.
    scores = {row: {place: 0.0} for row in ("knn", "linear-probe")}
    choices = Choices(scores, dict.fromkeys((*scores, "own-view-recall"), place))
    return (
        rows
        | _classified(source, labels, choices)
        | _few_shots(source, labels, choices, settings.few_shot_draws, seed)
    )


def _label_free(source: Source, material: Material, choices: Choices) -> dict[str, Entry]:
    place = choices.best["own-view-recall"]
    views = material.test
    n = len(views.pictures)

    def at(place: Place) -> tuple[np.ndarray, list[np.ndarray]]:
        own = source.features(views.pictures, place)
        return own, [source.features(v, place) for v in views.views]

    own, others = at(place)
    detail = _described(place, own, choices, "own-view-recall")
    detail |= {"labels": 0, "gallery": n}
    detail["noise_share"] = source.noise_share(views.pictures, place)
    detail["default"] = _alternative(source.default, own_view_recall(*at(source.default)))
    values = {
        "own-view-recall": own_view_recall(own, others),
        "alignment": alignment(own, others),
        "uniformity": uniformity(own),
        "rankme": rankme(own),
    }
    rows = {row: {"value": value, "n": n, "detail": _place(place)} for row, value in values.items()}
    rows["own-view-recall"]["detail"] = detail
    return rows


def _classified(source: Source, labels: Labels, choices: Choices) -> dict[str, Entry]:
    """k-NN and linear probe on test, at their own place and the two declared alternatives."""
    rows: dict[str, Entry] = {}
    scorers = {"knn": _knn, "linear-probe": _probe}
    for row, scorer in scorers.items():
        place = choices.best[row]
        alternatives = {"default": source.default, "label_free": choices.best["own-view-recall"]}
        results = {p: scorer(source, labels, p) for p in {place, *alternatives.values()}}
        value, found = results[place]
        test = source.features(labels.test.pictures, place)
        detail = _described(place, test, choices, row) | found
        for name, other in alternatives.items():
            detail[name] = _alternative(other, results[other][0])
        rows[row] = {"value": value, "n": len(labels.test.labels), "detail": detail}
    return rows


def _vectors(source: Source, labels: Labels, place: Place) -> dict[str, np.ndarray]:
    roles = {"train": labels.train, "validation": labels.validation, "test": labels.test}
    return {n: source.features(r.pictures, place) for n, r in roles.items()}


def _knn(source: Source, labels: Labels, place: Place) -> tuple[float, Entry]:
    x = _vectors(source, labels, place)
    votes = knn_votes(x["train"], labels.train.labels, x["test"], labels.classes)
    n = len(labels.train.labels)
    return accuracy(votes, labels.test.labels), {"train": n, "labels": n, "gallery": n}


def _probe(source: Source, labels: Labels, place: Place) -> tuple[float, Entry]:
    x = _vectors(source, labels, place)
    probe = linear_probe(
        x["train"], labels.train.labels, x["validation"], labels.validation.labels, labels.classes
    )
    n = len(labels.train.labels)
    found = {"strength": probe.strength, "train": n, "labels": n}
    return accuracy(probe(x["test"]), labels.test.labels), found


def _few_shots(
    source: Source, labels: Labels, choices: Choices, draws: int, seed: int
) -> dict[str, Entry]:
    """Few labels a class, each draw at the place that those labels choose; no other is looked at.

    No value where classes are too small.
    """
    known, test = labels.search, labels.test
    drawn = {
        (per_class, draw): found
        for per_class in FEW_SHOT_LABELS
        for draw in range(draws)
        if (found := label_draw(known.labels, per_class, seed, draw)) is not None
    }
    places = _few_shot_places(source, labels, choices, drawn)
    scores: dict[tuple[int, int], float] = {}
    for place in dict.fromkeys(places.values()):
        train, held = (source.features(of.pictures, place) for of in (known, test))
        for key in (key for key, at in places.items() if at == place):
            score = few_shot(train, known.labels, drawn[key], held, test.labels)
            if score is not None:
                scores[key] = score
    rows: dict[str, Entry] = {}
    for per_class in FEW_SHOT_LABELS:
        keys = sorted(key for key in scores if key[0] == per_class)
        own = [scores[key] for key in keys]
        # Of a draw; a class with fewer images than that gives it none.
        counts = [len(drawn[key]) for key in keys]
        detail = {"draws": own, "places": [_place(places[key]) for key in keys], "labels": counts}
        value = float(np.mean(own)) if own else None
        rows[f"few-shot-{per_class}"] = {"value": value, "n": len(own), "detail": detail}
    return rows


def _few_shot_places(
    source: Source,
    labels: Labels,
    choices: Choices,
    drawn: Mapping[tuple[int, int], np.ndarray],
) -> dict[tuple[int, int], Place]:
    """For each draw of labels the place where they predict each other best, left out in turn.

    One label a class cannot: there the place is the one that needs no label.
    """
    errors: dict[tuple[int, int], dict[Place, float]] = {}
    for place in source.places:
        vectors = source.features(labels.search.pictures, place)
        x = Standard.of(vectors)(vectors)
        for key, rows in drawn.items():
            if key[0] > 1:
                error = left_out_error(x[rows], labels.search.labels[rows], labels.classes)
                errors.setdefault(key, {})[place] = error
    found = dict.fromkeys(drawn, choices.best["own-view-recall"])
    for key, by in errors.items():
        found[key] = min(by, key=lambda at: (by[at], at != source.default, at.grid))
    return found


def _place(place: Place) -> Entry:
    level = place.log_snr if np.isfinite(place.log_snr) else None
    return {"layer": place.layer, "log_snr": level, "grid": place.grid}


def _alternative(place: Place, value: float) -> Entry:
    return {"value": value} | _place(place)


def _described(place: Place, vectors: np.ndarray, choices: Choices, row: str) -> Entry:
    return _place(place) | {
        "dimension": vectors.shape[1],
        "validation": choices.scores[row][place],
        "candidates": len(choices.scores[row]),
    }
