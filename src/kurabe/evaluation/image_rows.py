"""Rows about the images that a model draws, and about how well it denoises.

Real test images are the reference of every distance; training images serve as the two reference
rows `floor` and `copier`, for the clusters of diversity and for memorisation. The mathematics
stands in distances, memorisation and kurabe.training.held_out.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kurabe.data import ImageSet, Split
from kurabe.data.large import taken
from kurabe.encoders import Encoder
from kurabe.evaluation import distances, placeholders
from kurabe.evaluation.cache import cached_result, digest_of, encoded
from kurabe.evaluation.memorisation import (
    false_alarms,
    nearest,
    nearest_to_training,
    structure_distances,
    threshold,
    twins,
)
from kurabe.evaluation.model_features import Model, identity_of
from kurabe.evaluation.references import Rows, split_key
from kurabe.evaluation.subsets import drawn
from kurabe.randomness import permutation
from kurabe.recipe import Evaluation
from kurabe.training.held_out import held_out_loss

# Held-out images that the memorisation bound is set on, from validation and test together.
_HELD_OUT = 512
# Images that stand for noise, and training images that get grain.
_MARKED = 128


def generation_rows(
    samples: np.ndarray,
    images: ImageSet,
    split: Split,
    settings: Evaluation,
    encoder: Encoder,
    base_samples: np.ndarray | None,
) -> Rows:
    """Distances, precision, recall, density, coverage, diversity, each with its reference rows."""
    real = encoded(encoder, images, drawn(split.test, settings.real_images, "real test"))
    train = encoded(encoder, images, drawn(split.train, settings.real_images, "real train"))
    centres = distances.clusters(train) if len(train) > 1 else None

    def scores(features: np.ndarray) -> dict[str, Any]:
        return _distances(features, real, train, centres, encoder.name)

    fake = encoder.encode(samples)
    own = scores(fake)
    key = digest_of(
        # The word tells these rows from those of before the first one was there.
        "feature-distance", images.digest, encoder.identity, split_key(split), settings.real_images,
        len(samples),
    )  # fmt: skip
    real_rows = cached_result("real", key, lambda: _real_rows(scores, train, real, len(samples)))
    shown = images.pixels[drawn(split.train, _MARKED, "real train")]
    marks = cached_result("marks", key, lambda: _marks(shown, real, encoder))
    references: dict[str, dict[str, Any]] = {
        "floor": real_rows["floor"],
        "copier": real_rows["copier"],
    }
    if base_samples is not None:
        references["base"] = scores(encoder.encode(base_samples))
    rows: Rows = {}
    for row, value in own.items():
        if row == "fd_name":
            continue
        rows[row] = {"value": value, "n": len(samples), "detail": {"real": len(real)}}
        rows[row]["references"] = {name: of[row] for name, of in references.items()}
    for row, error in real_rows["floor_se"].items():
        rows[row]["detail"]["floor_se"] = error
    rows["feature-distance"]["references"] |= marks
    rows["fd"]["detail"]["name"] = own["fd_name"]
    return rows


_KERNELS = {"feature-distance": distances.distance_kernel, "kid": distances.polynomial_kernel}


def _real_rows(scores: Any, train: np.ndarray, real: np.ndarray, n: int) -> dict[str, Any]:
    """Real against real, training images as samples, and what distances do there by chance."""
    copies = train[permutation(0, "copier", 0, len(train))[:n]]
    enough = min(len(train), len(real)) > 1
    errors = {
        row: distances.mmd_standard_error(train, real, kernel) if enough else None
        for row, kernel in _KERNELS.items()
    }
    return {"floor": scores(train), "copier": scores(copies), "floor_se": errors}


def _marks(shown: np.ndarray, real: np.ndarray, encoder: Encoder) -> dict[str, float]:
    """How far blank pages, noise, and training images with grain are from real ones."""
    if min(len(shown), len(real)) < 2:
        return {}
    found = {
        # All pages are one image, and two of them are as far as any number.
        "blank": placeholders.blank(shown).repeat(2, 0),
        "noise": placeholders.noise(_MARKED, shown.shape[1:]),
        "grain": placeholders.grained(shown),
    }
    return {name: distances.feature_distance(encoder.encode(x), real) for name, x in found.items()}


def _distances(
    features: np.ndarray, real: np.ndarray, train: np.ndarray, centres: Any, encoder: str
) -> dict[str, Any]:
    """All distances of one set of features from the real ones; None where a set is too small."""
    smaller = min(len(features), len(real))
    precision, recall = distances.precision_recall(features, real) if smaller > 3 else (None, None)
    density, coverage = (
        distances.density_coverage(features, real) if len(real) > 5 else (None, None)
    )
    fd = distances.frechet_score(features, real, train, encoder)
    return {
        "feature-distance": distances.feature_distance(features, real) if smaller > 1 else None,
        "kid": distances.kid(features, real) if smaller > 1 else None,
        "fd": fd.value,
        "fd_name": fd.name if fd.reason is None else f"{fd.name}: {fd.reason}",
        "precision": precision,
        "recall": recall,
        "density": density,
        "coverage": coverage,
        "diversity": None if centres is None else distances.diversity(features, centres),
    }


def memorisation_rows(samples: np.ndarray, images: ImageSet, split: Split) -> Rows:
    """Near-copies and the nearest-image test; no values where all training images are one group."""
    held = drawn(np.concatenate([split.validation, split.test]), _HELD_OUT, "held out")
    train, real = taken(images.pixels, split.train), images.pixels[held]
    groups = images.groups[split.train]

    def calibrate() -> dict[str, Any]:
        found = nearest(structure_distances(real, train), groups)
        return {"ratios": None if found is None else found.ratio.tolist()}

    key = digest_of(images.digest, split_key(split), "structure", _HELD_OUT)
    ratios = cached_result("held-out-ratios", key, calibrate)["ratios"]
    to_train = structure_distances(samples, train)
    found = nearest(to_train, groups)
    test = nearest_to_training(to_train, structure_distances(samples, real))
    rows: Rows = {
        "nearest-to-training": {
            "value": test.share,
            "n": len(samples),
            "references": {"chance": 0.5},
            "detail": {"interval": [test.low, test.high], "compared": test.compared},
        }
    }
    if found is None or ratios is None:
        reason = "all training images are of one group"
        rows["near-copies"] = {"value": None, "n": len(samples), "detail": {"reason": reason}}
        return rows
    known = np.array(ratios)
    bound = threshold(known)
    copies = np.flatnonzero(found.ratio < bound)
    worst = copies[np.argsort(found.ratio[copies])]
    rows["near-copies"] = {
        "value": len(copies) / len(samples),
        "n": len(samples),
        "references": {"held-out": false_alarms(known)},
        "detail": {
            "threshold": bound,
            "held_out": len(known),
            "twins": twins(known),
            "pairs": [
                {
                    "sample": int(i),
                    "training": images.ids[split.train[found.first[i]]],
                    "ratio": float(found.ratio[i]),
                }
                for i in worst
            ],
            # Where the image nearest to each sample stands in the data set, for the grids.
            "nearest": split.train[found.first].tolist(),
        },
    }
    return rows


def loss_rows(
    model: Model, images: ImageSet, split: Split, settings: Evaluation, base: Model | None
) -> Rows:
    """Held-out loss on test images, and how much lower the loss on training images is."""
    own = denoising_loss(model, images, split, settings)
    rows: Rows = {
        "held-out-loss": _loss_row(own["held_out"], own),
        "loss-gap": _loss_row(_differences(own), own),
    }
    if base is not None:
        untouched = denoising_loss(base, images, split, settings)
        rows["held-out-loss"]["references"] = {"base": _mean(untouched["held_out"])}
        rows["loss-gap"]["references"] = {"base": _mean(_differences(untouched))}
    return rows


def denoising_loss(
    model: Model, images: ImageSet, split: Split, settings: Evaluation
) -> dict[str, Any]:
    """x₀-error by band of log-SNR on equally many test and training images; kept by digest."""
    test = drawn(split.test, settings.loss_images, "loss test")
    train = drawn(split.train, len(test), "loss train")

    def make() -> dict[str, Any]:
        return {
            "edges": list(settings.loss_bands),
            "held_out": _bands(model, images, test, settings),
            "training": _bands(model, images, train, settings),
            "n": len(test),
        }

    key = digest_of(
        identity_of(model), images.digest, split_key(split), settings.loss_images,
        settings.loss_bands,
    )  # fmt: skip
    return cached_result("loss", key, make)


def _bands(model: Model, images: ImageSet, index: np.ndarray, settings: Evaluation) -> list[float]:
    x0 = model.space.encode(images.pixels[index])
    errors = held_out_loss(model.denoiser, x0, index.tolist(), settings.loss_bands, settings.batch)
    return errors.double().mean(0).tolist()


def _differences(losses: dict[str, Any]) -> list[float]:
    return [h - t for h, t in zip(losses["held_out"], losses["training"], strict=True)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _loss_row(by_band: Sequence[float], losses: dict[str, Any]) -> dict[str, Any]:
    return {"value": _mean(by_band), "n": losses["n"], "detail": losses}
