"""Low-rank updates in kohya's format, which Stable Diffusion's tools read: one safetensors file.

lora_unet_<layer, dots as _>.lora_down.weight    A
                            .lora_up.weight      B
                            .alpha               s · rank
                            .dora_scale          m as a column, of a DoRA
"""

from pathlib import Path

import torch
from torch import Tensor

from kurabe.errors import UserError
from kurabe.exports.described import hashed, kohya, write
from kurabe.exports.pieces import Update, network_of, updates
from kurabe.exports.place import file_for
from kurabe.records import RunFolder
from kurabe.training import Model, load_model

PREFIX = "lora_unet_"


def export(run: RunFolder, out: Path) -> None:
    """Write the file; UserError where the run made other changes than low-rank ones, or its base
    is none that kohya's tools know."""
    path = file_for(out)
    model = load_model(run.path)
    check_known(run, model)
    found = updates(run, model)
    tensors = {name: value for of in found for name, value in keys(of).items()}
    ranks, alphas = {of.rank for of in found}, {of.alpha for of in found}
    dim = ranks.pop() if len(ranks) == 1 else None
    alpha = alphas.pop() if len(alphas) == 1 else None
    write(path, tensors, hashed(tensors, kohya(run, model, dim, alpha)))


def check_known(run: RunFolder, model: Model) -> None:
    """UserError where a run's base is not Stable Diffusion's network."""
    kind = type(network_of(model)).__name__
    if kind != "UNet2DConditionModel":
        raise UserError(
            f"{run.path} adapts a {kind}, and this format names the layers of Stable Diffusion's "
            "UNet2DConditionModel alone; take --to peft or --to safetensors."
        )


def named(layer: str) -> str:
    """kohya's name of a layer of diffusers."""
    return PREFIX + layer.replace(".", "_")


def keys(update: Update) -> dict[str, Tensor]:
    """The tensors of one layer's update."""
    name = named(update.layer)
    found = {
        f"{name}.lora_down.weight": update.a,
        f"{name}.lora_up.weight": update.b,
        f"{name}.alpha": torch.tensor(update.alpha),
    }
    if update.magnitude is not None:
        found[f"{name}.dora_scale"] = update.magnitude.unsqueeze(1)
    return found
