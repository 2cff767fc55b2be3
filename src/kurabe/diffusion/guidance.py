"""Guidance: a denoiser made of two denoisers, D = D_weak + w (D_strong − D_weak).

At w = 1 it is the strong one, bit for bit; beyond, it goes on in the direction in which the two
differ. Mixing posterior means is mixing scores, since ∇ log p(x_t) = (α E[x₀ | x_t] − x_t)/σ². Each
call costs the passes of both, as `passes` states, so that budgets can be compared in passes.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from typing_extensions import override

from kurabe.diffusion.denoiser import Denoiser, NetworkDenoiser
from kurabe.errors import UserError

if TYPE_CHECKING:
    from kurabe.methods.settings import GuidanceChoice


@dataclass(frozen=True)
class Parts:
    """What a guided denoiser may be made of.

    denoiser: the one to guide. null: the condition that says nothing, shaped like one row of a
    batch's; None where the network takes none. base: what the denoiser was before it was adapted,
    where it was something.
    """

    denoiser: Denoiser
    null: Tensor | None = None
    base: Denoiser | None = None


def classifier_free(choice: "GuidanceChoice", parts: Parts) -> "ClassifierFree":
    """Guided away from no condition; UserError where the network takes none."""
    if parts.null is None:
        raise UserError(
            "Classifier-free guidance needs a condition, and this network is told none; choose "
            "one, as with choices.condition.kind=class."
        )
    return ClassifierFree(parts.denoiser, choice.weight, parts.null)


def domain(choice: "GuidanceChoice", parts: Parts) -> "DomainGuidance":
    """Guided away from the base; UserError where there is none."""
    if parts.base is None:
        raise UserError("Domain guidance is away from a base, and this model has none.")
    return DomainGuidance(parts.denoiser, parts.base, choice.weight)


def internal(choice: "GuidanceChoice", parts: Parts) -> "InternalGuidance":
    """Guided away from the early head; UserError where the network has none."""
    denoiser = parts.denoiser
    if not isinstance(denoiser, NetworkDenoiser) or denoiser.backbone.early_layer is None:
        raise UserError(
            "Internal guidance is away from a head on an early layer, and this network has none; "
            "the term early-denoising trains one (kurabe fit internal-guidance)."
        )
    return InternalGuidance(denoiser, denoiser.backbone.early_layer, choice.weight)


class ClassifierFree(Denoiser):
    """Classifier-free guidance (Ho & Salimans 2022): the same network with and without condition.

    `null` (...) is the condition that means "none", shaped like one row of a batch's condition.
    The paper's weight is this `weight` − 1.
    """

    null: Tensor

    def __init__(self, denoiser: Denoiser, weight: float, null: Tensor) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.schedule = denoiser.schedule
        self.weight = weight
        self.passes = 2 * denoiser.passes
        self.register_buffer("null", null)

    @override
    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        nothing = self.null.expand(len(x_t), *self.null.shape).to(x_t.device)
        without = self.denoiser(x_t, t, nothing)
        return torch.lerp(without, self.denoiser(x_t, t, condition), self.weight)


class Clipped(Denoiser):
    """A denoiser whose x̂₀ is held within ± bound, as some bases expect at each step of sampling."""

    def __init__(self, denoiser: Denoiser, bound: float) -> None:
        super().__init__()
        self.denoiser, self.bound = denoiser, bound
        self.schedule, self.passes = denoiser.schedule, denoiser.passes

    @override
    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.denoiser(x_t, t, condition).clamp(-self.bound, self.bound)


class DomainGuidance(Denoiser):
    """Domain guidance (Zhong et al. 2025): the base model stands in for the unconditional branch.

    D = D_base + w (D_tuned − D_base). Both must share a schedule; raises UserError where not.
    """

    def __init__(self, tuned: Denoiser, base: Denoiser, weight: float) -> None:
        super().__init__()
        if tuned.schedule != base.schedule:
            raise UserError(
                f"domain guidance needs one schedule, not {tuned.schedule.name} for the tuned model"
                f" and {base.schedule.name} for its base"
            )
        self.tuned, self.base = tuned, base
        self.schedule = tuned.schedule
        self.weight = weight
        self.passes = tuned.passes + base.passes

    @override
    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        weak = self.base(x_t, t, condition)
        return torch.lerp(weak, self.tuned(x_t, t, condition), self.weight)


class InternalGuidance(Denoiser):
    """Internal guidance (Zhou et al. 2025): the network's own early head is the weaker denoiser.

    D = D_early + w (D − D_early). Both come from one pass, which is all that it costs.
    """

    def __init__(self, denoiser: NetworkDenoiser, layer: str, weight: float) -> None:
        super().__init__()
        self.denoiser, self.layer, self.weight = denoiser, layer, weight
        self.schedule, self.passes = denoiser.schedule, denoiser.passes

    @override
    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        own = self.denoiser
        out = own.predict(x_t, t, condition, layers=(self.layer,))
        weak = own.early(out.features[self.layer], x_t, t, condition)
        strong = own.to_x0(out.prediction, x_t, t)
        return torch.lerp(own.to_x0(weak.to(out.prediction), x_t, t), strong, self.weight)
