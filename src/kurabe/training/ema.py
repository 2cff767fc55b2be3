"""An exponential moving average of weights whose half-life is a share of what was seen.

A fixed half-life either returns a short run's initialisation or averages too little in a long
one. Here an old weight's part halves while the images seen grow by `half_life` of their number,
the power-law idea of Karras et al. (2024), "Analyzing and improving the training dynamics of
diffusion models", section 3.1.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


class EMA:
    """The average of the given tensors; they are named, the average is under the same names."""

    def __init__(self, tensors: Mapping[str, Tensor], half_life: float) -> None:
        self.tensors = dict(tensors)
        self.half_life = half_life
        self.average = {name: tensor.detach().clone() for name, tensor in tensors.items()}

    def decay(self, images_seen: int, batch: int) -> float:
        """What is left of the old average after an update that ends at images_seen, in [0, 1)."""
        if self.half_life == 0 or images_seen <= batch:
            return 0.0
        return 0.5 ** (batch / (self.half_life * images_seen))

    @torch.no_grad()
    def update(self, images_seen: int, batch: int) -> None:
        """Take in the tensors as they are now."""
        floating = [n for n, tensor in self.tensors.items() if tensor.is_floating_point()]
        average = get_ema_multi_avg_fn(self.decay(images_seen, batch))
        average([self.average[n] for n in floating], [self.tensors[n] for n in floating], None)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside this context the tensors hold the average."""
        own = {name: tensor.detach().clone() for name, tensor in self.tensors.items()}
        self._write(self.average)
        try:
            yield
        finally:
            self._write(own)

    @torch.no_grad()
    def _write(self, values: Mapping[str, Tensor]) -> None:
        for name, tensor in self.tensors.items():
            tensor.copy_(values[name])
