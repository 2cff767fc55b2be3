"""Muon: the steps of matrices inside blocks are orthogonalised, all else is AdamW's.

Jordan et al. (2024), "Muon: An optimizer for hidden layers in neural networks". With the gradient
G, momentum B ← μ B + (1 − μ) G and Nesterov's M = μ B + (1 − μ) G, a matrix W (m, n) goes

    W ← (1 − η λ) W − 0.2 √max(m, n) η O(M),

where O brings all singular values near 1. The factor is that of Liu et al. (2025), "Muon is
scalable for LLM training", section 2.2: a step's numbers are then about as large as AdamW's, so
that its learning rates carry over.

What is a matrix to Muon is a linear layer's weight inside a block, a low-rank factor too. The rest
stays with AdamW: vectors, embeddings, what leads in and out (as in the paper), the heads of terms,
and convolutions, since a depthwise one has no channels to mix and a flattened one would mix
channels with places, for which the factor above was not made.
"""

import torch
from torch import Tensor

from kurabe.errors import UserError
from kurabe.recipe import Optimiser
from kurabe.training.optimisers import Groups, adamw

# The polynomial of Jordan et al., steep at 0: five rounds bring values above 0.01 between 0.68 and
# 1.14, and closer they do not come.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ROUNDS = 5


def muon(groups: Groups, settings: Optimiser) -> "Muon":
    """Muon of groups that say what lies in blocks; UserError where no matrix there trains."""
    inside = [group for group in groups if group.get("in_blocks")]
    if not any(group["params"] for group in inside):
        raise UserError(
            "optimiser.kind = muon is for matrices inside blocks, and here none trains; take adamw."
        )
    outside = [group for group in groups if not group.get("in_blocks")]
    return Muon(inside, outside or [{"params": []}], settings)


class Muon(torch.optim.Optimizer):
    """Two rules over one list of groups and one state, so that it is stored like any other."""

    def __init__(self, inside: Groups, outside: Groups, settings: Optimiser) -> None:
        super().__init__(inside, {"lr": settings.lr, "weight_decay": settings.weight_decay})
        self._momentum, self._own = settings.betas[0], list(self.param_groups)
        self._others = adamw(outside, settings)
        self._others.state = self.state
        self.param_groups += self._others.param_groups

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        self._others.step()
        for group in self._own:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._turn(parameter, group["lr"], group["weight_decay"])

    def _turn(self, parameter: Tensor, rate: float, decay: float) -> None:
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"].lerp_(gradient, 1 - self._momentum)
        step = orthogonal(gradient.lerp(momentum, self._momentum))
        parameter.mul_(1 - rate * decay)
        parameter.add_(step, alpha=-0.2 * max(parameter.shape) ** 0.5 * rate)


def orthogonal(matrix: Tensor) -> Tensor:
    """U p(S) Vᵀ of a matrix U S Vᵀ (m, n), where p(S) is near 1, by Newton and Schulz's iteration.

    S ← a S + b S³ + c S⁵ from S/‖S‖. Products are in the format that autocast asks for.
    """
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.mT if tall else matrix
    x = x / x.norm().clamp(min=torch.finfo(x.dtype).tiny)
    for _ in range(ROUNDS):
        gram = x @ x.mT
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
