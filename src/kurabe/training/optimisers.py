"""Optimisers and the learning rate over a run: what turns gradients into steps.

An optimiser is called with groups of parameters and settings.

A group is {"params": [...], "weight_decay": ...}; the learning rate is set anew before each step.
Whatever an optimiser keeps for a parameter, or in its groups, is stored and resumed with the run.
"""

import math
from typing import Any

import torch
from torch import nn

from kurabe import registry
from kurabe.recipe import Optimiser

Groups = list[dict[str, Any]]


def make_optimiser(objective: nn.Module, settings: Optimiser) -> torch.optim.Optimizer:
    """The optimiser asked for on what trains; vectors (biases, norms, scales) are not decayed."""
    parameters = [p for p in objective.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return registry.load("optimisers", settings.kind)(groups, settings)


def learning_rate(settings: Optimiser, progress: float) -> float:
    """Linear warm-up, then half a cosine down to final_lr of the peak; progress in [0, 1]."""
    if progress < settings.warm_up:
        return settings.lr * progress / settings.warm_up
    rest = (progress - settings.warm_up) / (1 - settings.warm_up)
    falling = 0.5 * (1 + math.cos(math.pi * rest))
    return settings.lr * (settings.final_lr + (1 - settings.final_lr) * falling)


def adamw(groups: Groups, settings: Optimiser) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019), in one fused kernel."""
    return torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, fused=True)


def sgd(groups: Groups, settings: Optimiser) -> torch.optim.Optimizer:
    """Gradient descent with Nesterov's momentum (Sutskever et al. 2013), the first of betas."""
    momentum = settings.betas[0]
    return torch.optim.SGD(groups, lr=settings.lr, momentum=momentum, nesterov=momentum > 0)
