"""One run's scores: every row that its checkpoint, its images and its record can give.

One checkpoint gives the images, the features and the losses. The result is what scores/*.json
holds: schema, checkpoint, encoder, and for each metric its value, n, references and detail.
"""

import math
from typing import Any, cast

import numpy as np

from kurabe.data import ImageSet, Split
from kurabe.encoders import load_encoder
from kurabe.evaluation.cache import cached_array, digest_of
from kurabe.evaluation.cost_rows import cost_rows
from kurabe.evaluation.forgetting_rows import SourceDomain, forgetting_rows
from kurabe.evaluation.image_rows import generation_rows, loss_rows, memorisation_rows
from kurabe.evaluation.model_features import Model, identity_of
from kurabe.evaluation.references import attach, representations
from kurabe.evaluation.samples import Samples, draw_samples
from kurabe.evaluation.subsets import gather
from kurabe.recipe import Evaluation
from kurabe.records import Info, Scores

SCHEMA = 1


def evaluate(
    model: Model,
    images: ImageSet,
    split: Split,
    settings: Evaluation,
    *,
    seed: int,
    samples: Samples | None = None,
    base: Model | None = None,
    untrained: Model | None = None,
    source: SourceDomain | None = None,
    info: Info | None = None,
) -> Scores:
    """Measure a trained model; the scores of its run.

    seed is the block's: it names the starting noise and the few-shot labels. samples: what
    `draw_samples` gave, where it was called already. base: the untouched base, for its reference
    rows; untrained: the same network at random initialisation; source: held-out images of the
    base's domain, for forgetting; info: the run's record, for cost.
    Label rows are there only if images are labelled; labels serve nothing else.
    """
    encoder = load_encoder(
        settings.encoder, size=images.size, channels=images.channels, device=str(model.device)
    )
    samples = samples or draw_samples(model, settings, seed)
    own = samples if base is not None and _draws_alike(base, model) else None
    base_samples = None if base is None else _base_samples(base, settings, seed, own)
    rows = generation_rows(samples.pixels, images, split, settings, encoder, base_samples)
    rows |= loss_rows(model, images, split, settings, base)
    rows |= memorisation_rows(samples.pixels, images, split)
    material = gather(images, split, settings)
    given = {"own": model, "base": base, "random": untrained}
    models = {name: of for name, of in given.items() if of is not None}
    sources = representations(images, split, material, settings, encoder, models, seed)
    features = sources.pop("own")
    attach(features, sources)
    rows |= features
    if base is not None and base_samples is not None and source is not None:
        rows |= forgetting_rows(
            model, samples.pixels, base, base_samples, source, settings, encoder
        )
    rows |= cost_rows(model, samples, settings, info or {})
    return {
        "schema": SCHEMA,
        "checkpoint": model.state_digest(),
        "encoder": encoder.name,
        "metrics": finite(rows),
    }


def _draws_alike(base: Model, model: Model) -> bool:
    """Whether two models draw the same images: their weights, and how they are sampled."""
    return identity_of(base) == identity_of(model)


def _base_samples(
    base: Model, settings: Evaluation, seed: int, drawn: Samples | None
) -> np.ndarray:
    """The base's images of a block, drawn once; `drawn` where the model measured is the base."""
    key = digest_of(identity_of(base), seed, settings.samples, settings.evaluations)

    def make() -> np.ndarray:
        return (drawn or draw_samples(base, settings, seed)).pixels

    return cached_array("base-samples", key, make)


def finite(part: Any) -> Any:
    """Numbers that are none, as of a model that draws nothing finite, become no value."""
    if isinstance(part, dict):
        return {key: finite(value) for key, value in cast(dict[str, Any], part).items()}
    if isinstance(part, list):
        return [finite(value) for value in cast(list[Any], part)]
    return None if isinstance(part, float) and not math.isfinite(part) else part
