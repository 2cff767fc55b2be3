"""Full fine-tuning (or training from scratch): every weight trains."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from kurabe.adaptations.base import Adaptation


class Full(Adaptation):
    """Every weight trains; the start is kept beside it, for `off`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        network.requires_grad_(True)
        self._start = {name: tensor.detach().clone() for name, tensor in self.state().items()}

    def state(self) -> dict[str, Tensor]:
        return dict(self.network.state_dict(keep_vars=True))

    @contextmanager
    def off(self) -> Iterator[None]:
        adapted = {name: tensor.detach().clone() for name, tensor in self.state().items()}
        self.load(self._start)
        try:
            yield
        finally:
            self.load(adapted)

    def merge(self) -> None:
        self._start = {}


class Untouched(Adaptation):
    """Nothing trains and nothing is stored: the network is used as it is."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        network.requires_grad_(False)

    def state(self) -> dict[str, Tensor]:
        return {}

    @contextmanager
    def off(self) -> Iterator[None]:
        yield

    def merge(self) -> None:
        pass
