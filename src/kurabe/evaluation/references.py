"""What stands beside a run's values: what they would be without the method.

Images: real training against real test images (`floor`, expectation 0), the training images
handed in as samples (`copier`), the untouched base. Features: raw pixels, their principal
components, the simple features that the recipe names, the same network at random initialisation,
the base, the pretrained encoder; searched and measured exactly as the run's own. Each is computed
once and kept by digest, so the runs of a block share it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kurabe.data import ImageSet, Split
from kurabe.encoders import Encoder, PixelEncoder
from kurabe.evaluation.cache import cached_result, digest_of, encoded
from kurabe.evaluation.distances import pca
from kurabe.evaluation.feature_rows import Entry, Fixed, Material, ModelSource, Source, represent
from kurabe.evaluation.fixed_features import hog, patch_means, scattering_of
from kurabe.evaluation.model_features import Model, Pictures, identity_of
from kurabe.evaluation.subsets import drawn
from kurabe.recipe import Evaluation

PCA_DIMENSIONS = 50

Rows = dict[str, Entry]
References = dict[str, dict[str, float]]


def split_key(split: Split) -> list[str]:
    """What tells one draw of the three parts from another."""
    return [digest_of(part) for part in (split.train, split.validation, split.test)]


def representations(
    images: ImageSet,
    split: Split,
    material: Material,
    settings: Evaluation,
    encoder: Encoder,
    models: Mapping[str, Model],
    seed: int,
) -> dict[str, Rows]:
    """All rows of each source of features, by name: pixels, pca, encoder, those of
    settings.simple, and each of `models`.

    A model that stands under two names, as the untouched base beside itself, is measured once.
    """
    pixels = PixelEncoder(images.size, images.channels)
    fit = drawn(split.train, settings.search_images, "train")
    sources: dict[str, tuple[str, Callable[[], Source]]] = {
        "pixels": (pixels.identity, lambda: Fixed("pixels", lambda p: pixels.encode(p.pixels))),
        "pca": (f"pca {PCA_DIMENSIONS}", lambda: _principal(pixels, images.pixels[fit])),
        "encoder": (encoder.identity, lambda: _encoder(encoder, images)),
    }
    for name in settings.simple:
        sources[name] = (f"{name} 2", lambda name=name: _simple(name, images.pixels[fit]))
    for name, model in models.items():
        sources[name] = (identity_of(model), lambda model=model: ModelSource(model, settings))
    labels = [] if images.labels is None else images.labels
    key = (
        images.digest, labels, split_key(split), settings.model_dump(mode="json"), seed,
    )  # fmt: skip
    return {
        name: cached_result(
            "representation",
            # The words tell rules of choice apart, so that no result of an earlier one is taken.
            digest_of("few labels choose by themselves", identity, *key),
            lambda source=source: represent(source(), material, settings, seed),
        )
        for name, (identity, source) in sources.items()
    }


def _principal(pixels: PixelEncoder, train: np.ndarray) -> Source:
    projection = pca(pixels.encode(train), PCA_DIMENSIONS)

    def project(pictures: Pictures) -> np.ndarray:
        return projection(pixels.encode(pictures.pixels)).float().numpy()

    return Fixed(f"pca-{projection.axes.shape[1]}", project)


def _simple(name: str, train: np.ndarray) -> Source:
    made = {
        "hog": lambda: hog,
        "scattering": lambda: scattering_of(train),
        "patches": lambda: patch_means(train),
    }
    features = made[name]()
    return Fixed(name, lambda pictures: features(pictures.pixels))


def _encoder(encoder: Encoder, images: ImageSet) -> Source:
    def encode(pictures: Pictures) -> np.ndarray:
        if pictures.view:
            return encoder.encode(pictures.pixels)
        return encoded(encoder, images, pictures.positions)

    return Fixed(encoder.name, encode)


def attach(rows: Rows, references: Mapping[str, Mapping[str, Any]]) -> None:
    """Write each reference's values beside the run's rows of the same name."""
    for name, values in references.items():
        for row, value in values.items():
            if row in rows:
                number = value["value"] if isinstance(value, Mapping) else value
                rows[row].setdefault("references", {})[name] = number
