"""Optimisers and the learning rate over a run: what turns gradients into steps.

An optimiser is called with groups of parameters and settings.

A group is {"params": [...], "weight_decay": ..., "in_blocks": whether they are the weights of
linear layers inside blocks}; the learning rate is set anew before each step. Whatever an optimiser
keeps for a parameter, or in its groups, is stored and resumed with the run. Steps are made inside
autocast, so that products have the recipe's format. One that measures other weights than it trains
has eval() and train(), which lead there and back.
"""

import importlib
import logging
import math
import re
from typing import Any

import torch
from torch import Tensor, nn

from kurabe import registry
from kurabe.backbones import Backbone
from kurabe.errors import UserError
from kurabe.objectives.objective import Objective
from kurabe.recipe import Optimiser

Groups = list[dict[str, Any]]


def make_optimiser(objective: Objective, settings: Optimiser) -> torch.optim.Optimizer:
    """The optimiser asked for on what trains; vectors (biases, norms, scales) are not decayed."""
    parameters = [p for p in objective.parameters() if p.requires_grad]
    inside = _in_blocks(objective.denoiser.backbone)
    decayed = [p for p in parameters if p.dim() > 1]
    groups: Groups = [
        {"params": [p for p in decayed if (p in inside) is of], "in_blocks": of}
        for of in (True, False)
    ]
    groups = [group | {"weight_decay": settings.weight_decay} for group in groups]
    vectors = [p for p in parameters if p.dim() <= 1]
    groups.append({"params": vectors, "in_blocks": False, "weight_decay": 0.0})
    return registry.load("optimisers", settings.kind)(groups, settings)


def _in_blocks(backbone: Backbone) -> set[Tensor]:
    """The weights of the linear layers that the backbone's role "all-linear" means."""
    pattern = backbone.roles.get("all-linear")
    named = () if pattern is None else backbone.named_modules()
    return {
        module.weight
        for name, module in named
        if isinstance(module, nn.Linear) and re.search(str(pattern), name)
    }


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


def schedule_free(groups: Groups, settings: Optimiser) -> torch.optim.Optimizer:
    """AdamW that averages over its whole path (Defazio et al. 2024, "The road less scheduled").

    Gradients are taken at y = (1 − β₁) z + β₁ x; what is measured and kept is the average x.
    """
    library = _library("schedulefree", settings.kind)
    optimiser = library.AdamWScheduleFree(groups, lr=settings.lr, betas=settings.betas)
    optimiser.train()
    return optimiser


def adamw_8bit(groups: Groups, settings: Optimiser) -> torch.optim.Optimizer:
    """AdamW whose moments are kept in eight bits, block by block (Dettmers et al. 2022)."""
    # It warns of products of four bits, which nothing here asks for.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    library = _library("bitsandbytes", settings.kind)
    return library.optim.AdamW8bit(groups, lr=settings.lr, betas=settings.betas)


def _library(name: str, kind: str) -> Any:
    """Another package that an optimiser is of; UserError where it cannot be had."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(
            f"optimiser.kind = {kind} needs the package {name}, which is not installed: "
            f"pip install {name}; or take adamw."
        ) from None
