"""T-LoRA: low-rank updates of which fewer ranks are active the more noise there is.

Soboleva et al. (2025), "T-LoRA: Single image diffusion model customization without overfitting",
section 4.1 and their code: at time t the first

    r(t) = r_min + ⌊(1 − t)^p (r − r_min)⌋

ranks are active, W x + s B (m_t ⊙ A x) with m_t their mask. Their orthogonal initialisation is not
part of it here. An image of a batch has a time of its own, so that no weight is formed for all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import model_validator

from kurabe.adaptations.lora import LowRank
from kurabe.errors import UserError
from kurabe.methods.card import Formula, Text
from kurabe.methods.settings import Count, Positive
from kurabe.registry import Idea

if TYPE_CHECKING:
    from torch import Tensor, nn

    from kurabe.adaptations.low_rank import LoRA


class RankByNoise(LowRank):
    """rank, alpha and targets are LoRA's; min_rank: active at t = 1; power: p, the source's 1."""

    says = Text(
        ja="T-LoRA（雑音に応じてランク {rank} から {min_rank}、α {alpha:g}、{targets}）",
        en="T-LoRA, rank {rank} down to {min_rank} as noise rises, α {alpha:g}, {targets}",
    )
    merges = False

    kind: Literal["tlora"] = "tlora"
    min_rank: Count = 1
    power: Positive = 1

    @model_validator(mode="after")
    def _ordered(self) -> RankByNoise:
        if self.min_rank > self.rank:
            raise ValueError(f"min_rank = {self.min_rank} is more than rank = {self.rank}")
        return self

    def formula(self) -> Formula:
        return Formula(
            tex=r"W x + \frac{α}{r} B \left(m_{t} ⊙ A x\right)",
            ja="層の出力（W は固定、m_t は雑音が多いほど短いランクの覆い、B と A を学習）",
            en="A layer (W frozen; m_t: a mask of ranks, fewer the more noise; B and A train)",
            spoken="W x + (α / r) B (mask of t times A x), with W frozen",
        )


def active(t: Tensor, rank: int, min_rank: int, power: float) -> Tensor:
    """How many ranks are active at times t in [0, 1], shaped like t."""
    return min_rank + ((1 - t.float()).clamp(0, 1) ** power * (rank - min_rank)).floor()


def of_network(network: nn.Module, choice: RankByNoise) -> LoRA:
    """The network's linear layers; each pass begins by telling them its times."""
    import torch

    from kurabe.adaptations.low_rank import LoRA, MergedLinear

    told: list[Tensor] = []

    class Masked(MergedLinear):
        """PEFT's layer with a mask over the ranks."""

        def product(self, x: Tensor, base: nn.Module, a: Tensor, b: Tensor, scale: float) -> Tensor:
            mask = told[-1]
            # (B, 1 or N, r): as many dimensions as x has, one less where x has no tokens.
            mask = mask[:, 0] if x.dim() == 2 else mask
            for _ in range(x.dim() - 3):
                mask = mask.unsqueeze(1)
            low = torch.nn.functional.linear(x, a) * mask.to(x.dtype)
            return base(x) + scale * torch.nn.functional.linear(low, b)

    class ByNoise(LoRA):
        """Its change differs from time to time, and is none of weights."""

        def merge(self) -> None:
            raise UserError(
                "A T-LoRA changes with the noise level, so it cannot be written into the weights "
                "of its base; LoRA can (kurabe fit lora)."
            )

    clock: str = getattr(network, "clock", "")

    def hear(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        t = args[0] if clock else (args[1] if len(args) > 1 else kwargs["t"])
        ranks = active(t.reshape(len(t), -1), choice.rank, choice.min_rank, choice.power)
        order = torch.arange(choice.rank, device=t.device)
        told[:] = [order < ranks.unsqueeze(-1)]

    def anew() -> None:
        raise ValueError(
            "T-LoRA's ranks follow the pass at hand, and blocks computed anew have none"
        )

    adapted = ByNoise(network, choice, Masked)
    network.get_submodule(clock).register_forward_pre_hook(hear, with_kwargs=True)
    cast(Any, network).enable_gradient_checkpointing = anew
    return adapted


IDEAS = (Idea("adaptations", "tlora", f"{__name__}:of_network", RankByNoise),)
