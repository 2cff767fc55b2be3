"""Low-rank updates through PEFT: W + (alpha / rank) · B A, W frozen.

Hu et al. (2022), "LoRA: Low-rank adaptation of large language models", eq. 3. B starts at zero,
so the adapted network is the base until the first update, bit for bit.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from kurabe.adaptations.base import Adaptation
from kurabe.methods.choices import LowRank


class LoRA(Adaptation):
    """PEFT's LoRA on linear layers of the network's blocks."""

    def __init__(self, network: nn.Module, choice: LowRank) -> None:
        super().__init__(network)
        network.requires_grad_(False)
        config = LoraConfig(
            r=choice.rank,
            lora_alpha=choice.alpha,
            target_modules=_targets(network, choice),
            bias="none",
        )
        inject_adapter_in_model(config, network)

    @property
    def layers(self) -> list[LoraLayer]:
        """The wrapped linear layers."""
        return [m for m in self.network.modules() if isinstance(m, LoraLayer)]

    def state(self) -> dict[str, Tensor]:
        return {n: p for n, p in self.network.named_parameters() if ".lora_" in n}

    @contextmanager
    def off(self) -> Iterator[None]:
        for layer in self.layers:
            layer.enable_adapters(False)
        try:
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


def _targets(network: nn.Module, choice: LowRank) -> list[str]:
    """Full names of the linear layers inside blocks that the choice means."""
    wanted = r"blocks\.\d+\." if choice.targets == "all-linear" else r"blocks\.\d+\.(qkv|attention_)"
    return [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and re.match(wanted, name)
    ]
