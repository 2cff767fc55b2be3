"""A run that began from diffusers' weights, as a folder that DiffusionPipeline.from_pretrained
loads: the base's folder, its denoiser replaced by the trained one, adapters merged into it, all
of it in float32."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from kurabe import bases
from kurabe.bases import diffusers_folder
from kurabe.errors import UserError
from kurabe.files import check_place, folder_for_now, naming
from kurabe.recipe import Recipe
from kurabe.records import RunFolder
from kurabe.training import Model, load_model
from kurabe.training.model import read_tensors

# Whole weights or a list of shards, of which each is found by what the list calls it.
_VARIANT = re.compile(r"\.(?:fp16|bf16)(\.safetensors|\.json)$")
_HALVES = (torch.float16, torch.bfloat16)
# What a base's folder may hold that is not the base's: other precisions, other formats.
_LEFT_OUT = shutil.ignore_patterns(
    "*.bin", "*.ckpt", "*.pt", "*.pth", "*.onnx", "*.msgpack", ".*", "safety_checker"
)


def export(run: RunFolder, out: Path) -> None:
    """Write the folder, whole or not at all.

    UserError where the run did not begin from such a folder, or `out` is there already; OSError
    that names the base's file or `out`.
    """
    base = base_of(run)
    if out.exists():
        raise UserError(f"{out} is there already; give another --out.")
    check_place(out, folder=True)
    model = load_model(run.path)
    out.parent.mkdir(parents=True, exist_ok=True)
    with folder_for_now(out.parent) as beside:
        made = beside / out.name
        try:
            with naming(out, beside):
                _copy(base.path, made)
                _replace(model, made / diffusers_folder.denoiser_part(made))
                _in_one_precision(made)
                made.rename(out)
        except SafetensorError as error:
            raise UserError(
                f"{out} cannot be written ({error}); make room, or give another --out."
            ) from None


def base_of(run: RunFolder) -> bases.Base:
    """The diffusers folder that a run, or the run that it began from, began from; UserError where
    that is none."""
    text, seen = Recipe.from_toml(run.recipe_path).base, {run.path.resolve()}
    while text is not None and text not in bases.available() and RunFolder(text).exists:
        earlier = RunFolder(text)
        if earlier.path.resolve() in seen:
            break
        seen.add(earlier.path.resolve())
        text = Recipe.from_toml(earlier.recipe_path).base
    base = None if text is None else bases.find(text)
    if base is None or not base.is_diffusers:
        raise UserError(
            f"{run.path} did not begin from a folder of diffusers, which has no class for its "
            "network; its weights lie in checkpoints/model.safetensors."
        )
    return base


def _copy(base: Path, made: Path) -> None:
    """The base's folder, without what is not the base's; shutil.copytree's errors name no file."""

    def closed(error: OSError) -> None:
        raise error

    for folder, below, files in os.walk(base, onerror=closed, followlinks=True):
        left = _LEFT_OUT(folder, [*below, *files])
        below[:] = [name for name in below if name not in left]
        place = made / Path(folder).relative_to(base)
        place.mkdir()
        for name in set(files) - left:
            shutil.copyfile(Path(folder) / name, place / name)


def _replace(model: Model, part: Path) -> None:
    """Write the model's network into that part of a folder, in place of what lies there."""
    model.adaptation.merge()
    for old in part.glob("*.safetensors*"):
        old.unlink()
    network = model.denoiser.backbone.get_submodule("network")
    cast(Any, network).save_pretrained(part, safe_serialization=True)


def _in_one_precision(folder: Path) -> None:
    """Turn what is stored in half precision into float32, as the network is, named plainly.

    Where the base was handed out in halves alone, its parts could not work together otherwise, nor
    be found by who asks for no variant.
    """
    for weights in sorted(folder.glob("*/*.safetensors")):
        tensors = read_tensors(weights)
        if any(tensor.dtype in _HALVES for tensor in tensors.values()):
            wide = {n: t.float() if t.dtype in _HALVES else t for n, t in tensors.items()}
            save_file(wide, weights, {"format": "pt"})
    for named in sorted(folder.glob("*/*.safetensors*")):
        plain = named.with_name(_VARIANT.sub(r"\1", named.name))
        if not plain.exists():
            named.rename(plain)
    for path in sorted(folder.glob("*/config.json")):
        config = json.loads(path.read_bytes())
        precision = {key: "float32" for key in ("dtype", "torch_dtype") if config.get(key)}
        path.write_text(json.dumps(config | precision, indent=2) + "\n", "utf-8")
