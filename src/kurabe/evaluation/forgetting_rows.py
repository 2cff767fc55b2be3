"""What adaptation cost in the domain that the base came from.

The base's own held-out images are denoised and compared with samples, after adaptation and before:
x₀-error as in kurabe.training.held_out, KID as in generation. The value is the one after; `base`
is the one before.
"""

from dataclasses import dataclass

import numpy as np

from kurabe.data import ImageSet
from kurabe.encoders import Encoder
from kurabe.evaluation.cache import cached_result, digest_of, encoded
from kurabe.evaluation.distances import kid
from kurabe.evaluation.model_features import Model
from kurabe.evaluation.references import Rows
from kurabe.evaluation.subsets import drawn
from kurabe.recipe import Evaluation
from kurabe.training.held_out import held_out_loss


@dataclass(frozen=True)
class SourceDomain:
    """Images of the base's domain, and which of them the base never saw."""

    images: ImageSet
    held_out: np.ndarray


def forgetting_rows(
    model: Model,
    samples: np.ndarray,
    base: Model,
    base_samples: np.ndarray,
    source: SourceDomain,
    settings: Evaluation,
    encoder: Encoder,
) -> Rows:
    """Loss and KID on the source domain, after and before."""
    tested = drawn(source.held_out, settings.loss_images, "source loss")
    x0 = model.space.encode(source.images.pixels[tested])

    def loss(of: Model) -> float:
        errors = held_out_loss(
            of.denoiser, x0, tested.tolist(), settings.loss_bands, settings.batch
        )
        return float(errors.double().mean())

    real_index = drawn(source.held_out, settings.real_images, "source real")
    real = encoded(encoder, source.images, real_index)
    measured = digest_of(tested, settings.loss_bands)
    key = digest_of(base.state_digest(), source.images.digest, measured)
    before = cached_result("source-loss", key, lambda: {"loss": loss(base)})
    return {
        "forgetting-loss": {
            "value": loss(model),
            "n": len(tested),
            "references": {"base": before["loss"]},
        },
        "forgetting-kid": {
            "value": kid(encoder.encode(samples), real),
            "n": len(samples),
            "references": {"base": kid(encoder.encode(base_samples), real)},
            "detail": {"real": len(real)},
        },
    }
