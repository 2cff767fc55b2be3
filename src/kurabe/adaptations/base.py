"""What may change: an adaptation attaches to a network and decides which parameters train."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


class Adaptation:
    """A way to change a network; made for one network, whose other parameters it freezes.

    `parameters` are what trains. `state` is all that must be stored to have the adapted network
    again beside its start: what trains, and what is fitted to the images (`Backbone.fitted`).
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self._unfitted = {name: value.clone() for name, value in self._fitted().items()}

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The parameters that train."""
        return [p for p in self.network.parameters() if p.requires_grad]

    def state(self) -> dict[str, Tensor]:
        """What must be stored, by name."""
        trains = {name: p for name, p in self.network.named_parameters() if p.requires_grad}
        return trains | self._fitted()

    def _fitted(self) -> dict[str, Tensor]:
        names = getattr(self.network, "fitted", frozenset())
        return {name: value for name, value in self.network.named_buffers() if name in names}

    @contextmanager
    def _as_fitted_before(self) -> Iterator[None]:
        """Inside this context what was fitted to the images is what the start had."""
        own = {name: value.clone() for name, value in self._fitted().items()}
        for name, value in self._fitted().items():
            value.copy_(self._unfitted[name])
        try:
            yield
        finally:
            for name, value in self._fitted().items():
                value.copy_(own[name])

    def load(self, state: dict[str, Tensor]) -> None:
        """Take over a stored state; ValueError where names or shapes do not match."""
        own = self.state()
        if own.keys() != state.keys():
            odd = sorted(own.keys() ^ state.keys())[0]
            raise ValueError(f"the stored weights do not fit the network: '{odd}'")
        for name, tensor in own.items():
            if tensor.shape != state[name].shape:
                raise ValueError(f"the stored weights do not fit the network: '{name}'")
            # Copied into the tensors at hand, so that their alignment in memory stays.
            tensor.data.copy_(state[name])

    def off(self) -> AbstractContextManager[None]:
        """Inside this context the network is what it was before it was adapted.

        Of a low-rank update this holds but for a table of new classes, which is no update.
        """
        raise NotImplementedError

    def merge(self) -> None:
        """Write the change into the network's own weights; there is no way back.

        UserError where it is no change of weights.
        """
        raise NotImplementedError


class InPlace(Adaptation):
    """Some of the network's own weights change where they are; their start is kept beside them.

    names: the parameters that train; all others are frozen.
    """

    def __init__(self, network: nn.Module, names: set[str]) -> None:
        super().__init__(network)
        names = names | getattr(network, "fresh", frozenset())
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name in names)
        self._start = {name: tensor.detach().clone() for name, tensor in self.state().items()}

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
