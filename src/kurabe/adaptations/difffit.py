"""DiffFit: biases, norms, the class embedding, and a learned factor for each branch of each block.

Xie et al. (2023), "DiffFit: Unlocking transferability of large diffusion models via simple
parameter-efficient fine-tuning": a branch's output F(h) becomes γ ⊙ F(h), a factor for each
channel that starts at 1, so that the network is the base until the first update, bit for bit. γ
stands behind the last layer of a branch and is merged into it afterwards: γ ⊙ (W x + b) is a layer
of the weight diag(γ) W and the bias γ ⊙ b.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, cast

from kurabe.adaptations.base import InPlace
from kurabe.adaptations.norms import norms_of
from kurabe.errors import UserError
from kurabe.methods.card import Formula, Text
from kurabe.methods.settings import AdaptationChoice
from kurabe.registry import Idea

if TYPE_CHECKING:
    from torch import Tensor, nn

_CLASSES = re.compile(r"(^|\.)(classes|embedding_table|class_embedding)\.weight$")
_NAME = "branch_scale"


class DiffFit(AdaptationChoice):
    """Biases, norms, class embedding and factors train."""

    says = Text(
        ja="バイアス、正規化、クラス埋め込みと枝ごとの倍率（DiffFit）",
        en="Biases, norms, class embedding and a scale for each branch (DiffFit)",
    )
    counts = Text(
        ja="すべてのバイアスと正規化、クラス埋め込み、枝ごとに出力の数だけの倍率、ほかは固定",
        en="All biases and norms, the class embedding, and as many scales as each branch has "
        "outputs; the rest is frozen",
    )

    kind: Literal["difffit"] = "difffit"

    def formula(self) -> Formula:
        return Formula(
            tex="h + γ ⊙ F(h)",
            ja="枝の出力（h はトークン、F はアテンションまたは MLP、γ は 1 から始まる倍率）",
            en="A branch (h: the tokens; F: attention or an MLP; γ: scales that start at 1)",
            spoken="h + γ F(h), with γ from 1",
        )


class Scaled(InPlace):
    """The factors are parameters of the layers that end a branch; UserError where none is known."""

    def __init__(self, network: nn.Module, choice: DiffFit) -> None:
        import torch
        from torch import nn

        pattern: str = getattr(network, "branches", "")
        layers = dict(network.named_modules())
        ends = [name for name in layers if pattern and re.search(pattern, name)]
        self._ends = [layers[name] for name in ends if hasattr(layers[name], "weight")]
        if not self._ends:
            raise UserError("DiffFit scales the branches of blocks, and this network names none.")
        for layer in self._ends:
            ones = torch.ones_like(cast(Any, layer).weight[:, :1].flatten(1).mean(1))
            layer.register_parameter(_NAME, nn.Parameter(ones))
        self._hooks = [layer.register_forward_hook(_scale) for layer in self._ends]
        every = [name for name, _ in network.named_parameters()]
        names = {name for name in every if name.rpartition(".")[2] in ("bias", _NAME)}
        names |= norms_of(network) | {name for name in every if _CLASSES.search(name)}
        super().__init__(network, names)

    def merge(self) -> None:
        for layer, hook in zip(self._ends, self._hooks, strict=True):
            hook.remove()
            own = cast(Any, layer)
            scale = own.branch_scale.data
            own.weight.data.mul_(scale.view(-1, *[1] * (own.weight.dim() - 1)))
            if own.bias is not None:
                own.bias.data.mul_(scale)
            del own.branch_scale
        super().merge()


def _scale(layer: nn.Module, given: Any, output: Tensor) -> Tensor:
    """Output (..., D) of a linear layer or (B, D, H, W) of a convolution, channel by channel."""
    scale = cast("Tensor", layer.branch_scale)
    return output * (scale if cast(Any, layer).weight.dim() == 2 else scale.view(-1, 1, 1))


IDEAS = (Idea("adaptations", "difffit", f"{__name__}:Scaled", DiffFit),)
