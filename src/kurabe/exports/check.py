"""Whether an adapter's file fits a base: tensors matched, those that are lost and why, and by how
much it changes what the base draws.

Read are the forms of `kurabe.exports` and of other tools, by their tensors' names:

    <layer>.lora_A.weight    .lora_down.weight    .lora.down.weight     A
    <layer>.lora_B.weight    .lora_up.weight      .lora.up.weight       B
    <layer>.lora_magnitude_vector    .dora_scale                        m
    <layer>.alpha    .diff    .diff_b    .w_norm    .b_norm             α, ΔW, Δb

behind base_model.model., unet., transformer. or lora_unet_ (with _ for the dots of a layer).
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn

from kurabe.errors import UserError
from kurabe.exports.fit import SEEDS, Fit, adapted_as_here, adapted_by_peft
from kurabe.exports.pieces import network_of
from kurabe.exports.plain import ADAPTATION
from kurabe.training import load_model
from kurabe.training.model import read_tensors

EVALUATIONS = 8
_MARKS = {
    "a": (".lora_A.weight", ".lora_A.default.weight", ".lora_down.weight", ".lora.down.weight"),
    "b": (".lora_B.weight", ".lora_B.default.weight", ".lora_up.weight", ".lora.up.weight"),
    "m": (".lora_magnitude_vector.weight", ".lora_magnitude_vector.default.weight",
          ".lora_magnitude_vector", ".dora_scale"),
    "alpha": (".alpha",),
    "weight": (".diff", ".w_norm"),
    "bias": (".diff_b", ".b_norm"),
}  # fmt: skip
_TEXT = re.compile(r"^(text_encoder|lora_te)")
_BEFORE = re.compile(r"^(base_model\.model\.|unet\.|transformer\.|diffusion_model\.|network\.)+")
_FILES = ("adapter_model.safetensors", "pytorch_lora_weights.safetensors")


def check(path: Path, base: str) -> Fit:
    """The fit of a file, or of a folder that holds one; UserError where nothing of it fits."""
    file = _file(path)
    tensors, found, model = read_tensors(file), Fit(metadata=_header(file)), load_model(base)
    if not tensors:
        raise UserError(f"{file} holds no tensors.")
    model.adaptation.merge()
    before = model.sample(SEEDS, EVALUATIONS)
    if ADAPTATION in found.metadata:
        adapted_as_here(tensors, model.denoiser.backbone, found)
    elif _tuner_beside(file):
        adapted_by_peft(tensors, network_of(model), found, file.parent)
    else:
        _apply(tensors, network_of(model), found, _scales(file, found.metadata))
    if not found.fits:
        name, why = next(iter(found.lost.items()))
        raise UserError(
            f"{path} does not fit {base}: none of its {found.tensors} tensors does; {name}: {why}."
        )
    change = np.abs(model.sample(SEEDS, EVALUATIONS).astype(int) - before)
    found.mean, found.largest = float(change.mean()), int(change.max())
    return found


def _file(path: Path) -> Path:
    if not path.exists():
        raise UserError(f"There is no {path}.")
    if not path.is_dir():
        return path
    file = next((path / name for name in _FILES if (path / name).exists()), None)
    if file is None:
        raise UserError(f"{path} holds neither {' nor '.join(_FILES)}; name a file.")
    return file


def _header(file: Path) -> dict[str, str]:
    with safe_open(file, "pt") as opened:
        return dict(opened.metadata() or {})


def _tuner_beside(file: Path) -> bool:
    """Whether PEFT's configuration beside a file is of another tuner than LoRA."""
    config = file.with_name("adapter_config.json")
    try:
        return config.exists() and json.loads(config.read_bytes()).get("peft_type") != "LORA"
    except (ValueError, AttributeError, OSError) as error:
        raise UserError(f"{config} cannot be read ({error}).") from None


def _scales(file: Path, metadata: Mapping[str, str]) -> float | None:
    """α / r, or α / √r, that a configuration beside or in the file names; None where none does."""
    beside = file.with_name("adapter_config.json")
    try:
        said: dict[str, Any] = {}
        if beside.exists():
            said = json.loads(beside.read_bytes())
        elif "lora_adapter_metadata" in metadata:
            packed = json.loads(metadata["lora_adapter_metadata"])
            said = {name.partition(".")[2]: value for name, value in packed.items()}
        rank, alpha = said.get("r"), said.get("lora_alpha")
        if not rank or alpha is None:
            return None
        return float(alpha) / (rank**0.5 if said.get("use_rslora") else rank)
    except (ValueError, TypeError, AttributeError, OSError) as error:
        raise UserError(f"{file} has a configuration that cannot be read ({error}).") from None


def _apply(
    tensors: Mapping[str, Tensor], network: nn.Module, found: Fit, scale: float | None
) -> None:
    """Write each layer's change into the network, and keep account."""
    modules = network.named_modules()
    layers = {n: m for n, m in modules if isinstance(getattr(m, "weight", None), Tensor)}
    flat = {name.replace(".", "_"): name for name in layers}
    parts: dict[str, dict[str, str]] = {}
    for name in sorted(tensors):
        odd = None if tensors[name].isfinite().all() else "it holds what is no finite number"
        why = odd or _place(name, layers, flat, parts)
        if why is not None:
            found.lost[name] = why
    for place, own in parts.items():
        given = {kind: tensors[name].float() for kind, name in own.items()}
        why = _change(cast(Any, layers.get(place)), given, scale)
        if why is None:
            found.fits += own.values()
        else:
            found.lost |= dict.fromkeys(own.values(), why)


def _place(
    name: str,
    layers: Mapping[str, Any],
    flat: Mapping[str, str],
    parts: dict[str, dict[str, str]],
) -> str | None:
    """Sort a tensor under its layer; why it has none, where it has none."""
    if _TEXT.match(name):
        return "it belongs to a text encoder, which stays the base's"
    for kind, marks in _MARKS.items():
        mark = next((mark for mark in marks if name.endswith(mark)), None)
        if mark is None:
            continue
        layer = _BEFORE.sub("", name.removesuffix(mark))
        layer = flat.get(layer.removeprefix("lora_unet_"), layer)
        if layer not in layers:
            return f"the base has no layer '{layer}'"
        first = parts.setdefault(layer, {}).setdefault(kind, name)
        return None if first == name else f"'{first}' is of the same layer already"
    return "its name is that of no change that is known here"


def _change(layer: Any, given: Mapping[str, Tensor], scale: float | None) -> str | None:
    """Write what is given into a layer; why it cannot be, where it cannot."""
    weight: Tensor = layer.weight.data
    new = weight
    if "a" in given or "b" in given or "m" in given:
        if not {"a", "b"} <= given.keys():
            return "its other half, A or B, is missing"
        if given["a"].dim() < 2 or given["b"].dim() < 2:
            return "A and B are matrices, and it is none"
        if "alpha" in given and given["alpha"].numel() != 1:
            return f"its alpha is {given['alpha'].numel()} numbers, not one"
        a, b = given["a"].flatten(1), given["b"].flatten(1)
        if not len(a):
            return "its rank is 0"
        if len(a) != b.shape[1]:
            return f"A has rank {len(a)}, B has rank {b.shape[1]}"
        if (len(b), a.shape[1]) != tuple(weight.flatten(1).shape):
            sides = " × ".join(map(str, weight.flatten(1).shape))
            return f"its update is {len(b)} × {a.shape[1]}, the layer {sides}"
        factor = float(given["alpha"]) / len(a) if "alpha" in given else scale
        new = new + (1.0 if factor is None else factor) * (b @ a).view_as(weight)
        if "m" in given:
            rows = given["m"].flatten()
            if len(rows) != len(weight):
                return f"it has {len(rows)} lengths for {len(weight)} outputs"
            new = (rows / new.flatten(1).norm(dim=1)).view(-1, *[1] * (new.dim() - 1)) * new
    for kind, old in (("weight", weight), ("bias", getattr(layer, "bias", None))):
        if kind in given and (old is None or given[kind].shape != old.shape):
            has = "none" if old is None else " × ".join(map(str, old.shape))
            return f"it is {' × '.join(map(str, given[kind].shape))}, the layer's {kind} {has}"
    with torch.no_grad():
        layer.weight.data = new + given["weight"] if "weight" in given else new
        if "bias" in given:
            layer.bias.data = layer.bias.data + given["bias"]
    return None
