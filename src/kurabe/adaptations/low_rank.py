"""Low-rank updates: W + (alpha / rank) · B A with W frozen, in PEFT's own layers and names.

Hu et al. (2022), "LoRA: Low-rank adaptation of large language models", eq. 3. B starts at zero,
so the adapted network is the base until the first update, bit for bit.

PEFT computes W x + s B (A x), two more products in each direction over every token; on small
networks that eats what the missing gradients of W save. `MergedLinear` forms W + s B A once a
pass, which no token pays for, and its backward pass is written out:

    dx = dy (W + s B A)      dBᵀ = s (A xᵀ) dy      dA = s (Bᵀ dyᵀ) x
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.nn.functional as F
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import Linear as PeftLinear
from torch import Tensor, nn

from kurabe.adaptations.base import Adaptation
from kurabe.adaptations.lora import LowRank
from kurabe.errors import UserError

_ADAPTER = "default"


class LoRA(Adaptation):
    """Low-rank updates of the linear layers that the settings mean.

    layer: what takes a linear layer's place. options: more of PEFT's configuration.
    """

    def __init__(
        self,
        network: nn.Module,
        choice: LowRank,
        layer: "type[MergedLinear] | None" = None,
        **options: Any,
    ) -> None:
        super().__init__(network)
        network.requires_grad_(False)
        config = LoraConfig(
            r=choice.rank,
            # PEFT divides it by the rank, which any number will do for.
            lora_alpha=cast(int, choice.alpha),
            target_modules=targets(network, choice.targets),
            bias="none",
            **options,
        )
        config._register_custom_module({nn.Linear: layer or MergedLinear})
        inject_adapter_in_model(config, network, _ADAPTER)

    @property
    def layers(self) -> list[LoraLayer]:
        """The wrapped linear layers."""
        return [m for m in self.network.modules() if isinstance(m, LoraLayer)]

    @contextmanager
    def off(self) -> Iterator[None]:
        for layer in self.layers:
            layer.enable_adapters(False)
        try:
            with self._as_fitted_before():
                yield
        finally:
            for layer in self.layers:
                layer.enable_adapters(True)

    def merge(self) -> None:
        for name, layer in list(self.network.named_modules()):
            if isinstance(layer, LoraLayer):
                layer.merge()
                parent, _, child = name.rpartition(".")
                setattr(self.network.get_submodule(parent), child, layer.get_base_layer())


class MergedLinear(PeftLinear):
    """PEFT's LoRA layer, computed with the sum of both weights."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        base = self.get_base_layer()
        if self.disable_adapters or self.merged:
            return base(x)
        # A ModuleDict is a mapping of linear layers; torch's annotations do not say so.
        a, b = (cast(Tensor, layers[_ADAPTER].weight) for layers in (self.lora_A, self.lora_B))
        return self.product(x, base, a, b, self.scaling[_ADAPTER])

    def product(self, x: Tensor, base: nn.Module, a: Tensor, b: Tensor, scale: float) -> Tensor:
        """x (..., in), A (r, in), B (out, r) → (..., out)."""
        return _LowRankProduct.apply(x, base.weight, base.bias, a, b, scale)


class _LowRankProduct(torch.autograd.Function):
    """x (..., in), W (out, in), bias (out,), A (r, in), B (out, r) → x (W + s B A)ᵀ + bias."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cuda")
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        merged = torch.addmm(weight, b, a, alpha=scale)
        ctx.save_for_backward(x, merged, a, b)
        ctx.scale = scale
        return F.linear(x, merged, bias)

    @staticmethod
    @torch.amp.custom_bwd(device_type="cuda")
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        # Under autocast the products' results, and so dy, are narrower than the weights.
        x, merged, a, b = (saved.to(dy.dtype) for saved in ctx.saved_tensors)
        dx = dy @ merged if ctx.needs_input_grad[0] else None
        rows, gradient = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
        # With r rows rather than r columns a thin product takes a third to a tenth of the time.
        db = ctx.scale * ((a @ rows.T) @ gradient).T
        da = ctx.scale * ((b.T @ gradient.T) @ rows)
        return dx, None, None, da, db, None


def targets(network: nn.Module, meant: str) -> list[str]:
    """Full names of the linear layers that are meant: by a role, or a pattern that they match.

    The roles are the backbone's; a pattern is searched for in names such as "blocks.0.qkv".
    UserError where there is no such layer, so that nothing is left untouched in silence.
    """
    roles: Mapping[str, str] = getattr(network, "roles", {})
    pattern = re.compile(roles.get(meant, meant))
    linear = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    found = [name for name in linear if pattern.search(name)]
    if not found:
        some = ", ".join(linear[:3]) or "none"
        raise UserError(
            f"targets = '{meant}' matches no linear layer of this network; it has {some}"
            f"{' and others' if len(linear) > 3 else ''}, and knows as roles "
            f"{', '.join(roles) or 'none'}."
        )
    return found
