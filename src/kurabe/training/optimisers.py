"""Optimisers: what turns gradients into steps, each called with groups of parameters and settings.

A group is {"params": [...], "weight_decay": ...}; the learning rate is set anew before each step.
Whatever an optimiser keeps for a parameter, or in its groups, is stored and resumed with the run.
"""

from typing import Any

import torch

from kurabe.recipe import Optimiser

Groups = list[dict[str, Any]]


def adamw(groups: Groups, settings: Optimiser) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019), in one fused kernel."""
    return torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, fused=True)


def sgd(groups: Groups, settings: Optimiser) -> torch.optim.Optimizer:
    """Gradient descent with Nesterov's momentum (Sutskever et al. 2013), the first of betas."""
    momentum = settings.betas[0]
    return torch.optim.SGD(groups, lr=settings.lr, momentum=momentum, nesterov=momentum > 0)
