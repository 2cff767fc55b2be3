"""A run's adapter as PEFT writes it: adapter_config.json and adapter_model.safetensors, by PEFT's
own `save_pretrained`, so that `PeftModel.from_pretrained(network, FOLDER)` has it again.

The network is that of diffusers (`pipe.unet`) where the base is one, else Kurabe's own
(`load_model(BASE).denoiser.backbone`).
"""

import dataclasses
import os
import warnings
from pathlib import Path
from typing import Any, cast

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from kurabe.adaptations.low_rank import LoRA
from kurabe.adaptations.peft_tuners.layers import Tuned
from kurabe.errors import UserError
from kurabe.exports.described import card
from kurabe.exports.pieces import check_whole, network_of, outside, updates
from kurabe.exports.place import folder_for
from kurabe.files import folder_for_now, naming, write_bytes_atomic
from kurabe.recipe import Recipe
from kurabe.records import RunFolder
from kurabe.training import Model, load_model


def export(run: RunFolder, out: Path) -> None:
    """Write the folder, whole or not at all; UserError where PEFT has no form for the change."""
    folder_for(out)
    model = load_model(run.path)
    made = as_peft(run, model)
    text = card(run, model, "peft", ["kurabe", "peft"])
    out.parent.mkdir(parents=True, exist_ok=True)
    with folder_for_now(out.parent) as beside, naming(out, beside):
        made.save_pretrained(str(beside / out.name))
        write_bytes_atomic(beside / out.name / "README.md", text.encode())
        os.replace(beside / out.name, out)


def as_peft(run: RunFolder, model: Model) -> PeftModel:
    """The base's network, adapted by PEFT as the run's is."""
    base = Recipe.from_toml(run.recipe_path).base
    if base is None:
        raise UserError(f"{run.path} began from random weights, so it is no adapter of a base.")
    adaptation = model.adaptation
    if isinstance(adaptation, Tuned):
        check_whole(run, model)
        network, config = _fresh(base), _config(adaptation)
        made = _adapted(network, config)
        # What layers share, VeRA's projections say, is the tuner's own.
        own = adaptation.tuner.state_dict()
        made.load_state_dict({_there(name): tensor for name, tensor in own.items()})
        return made
    if not isinstance(adaptation, LoRA):
        kind = Recipe.from_toml(run.recipe_path).choices.adaptation.kind
        raise UserError(
            f"{run.path} was adapted by '{kind}', for which PEFT has no layers; --to comfy or "
            "--to safetensors writes what it changed."
        )
    found = updates(run, model)
    first = found[0]
    config = LoraConfig(
        r=first.rank,
        lora_alpha=cast(int, first.alpha),
        target_modules=[of.layer for of in found],
        use_dora=first.magnitude is not None,
    )
    made = _adapted(_fresh(base), config)
    for of in found:
        layer: Any = cast(nn.Module, made.base_model.model).get_submodule(of.layer)
        layer.lora_A["default"].weight.data.copy_(of.a)
        layer.lora_B["default"].weight.data.copy_(of.b)
        if of.magnitude is not None:
            layer.lora_magnitude_vector["default"].weight.data.copy_(of.magnitude)
    return made


def _there(name: str) -> str:
    """The name in a `PeftModel` of a tensor of a tuner on Kurabe's frame."""
    inside = name.removeprefix("model.")
    return f"base_model.{name}" if inside == name else f"base_model.model.{outside(inside)}"


def _fresh(base: str) -> nn.Module:
    model = load_model(base)
    model.adaptation.merge()
    return network_of(model)


def _config(adaptation: Tuned) -> Any:
    """The tuner's configuration for layers by their names outside."""
    config = adaptation.config
    names = [outside(name) for name in config.target_modules]
    return dataclasses.replace(config, target_modules=names)


def _adapted(network: nn.Module, config: Any) -> PeftModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return cast(PeftModel, get_peft_model(cast(Any, network), config))
