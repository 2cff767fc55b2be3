"""A folder that diffusers wrote, or an id of the Hugging Face hub, as a base. No torch here.

The folder holds model_index.json, which names a class for each part; the parts lie in folders of
their own, with a configuration and weights as safetensors (whole or in shards, in any precision).
Pickles are never opened. What does not fit is one sentence that names the file and the way out.
"""

import importlib
import json
import math
import re
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from kurabe import registry
from kurabe.bases.architecture import architecture, architectures
from kurabe.bases.diffusers_network import Autoencoder, DiffusersNetwork, Prompt
from kurabe.bases.scheduler import read_scheduler
from kurabe.bases.texts import parts_of
from kurabe.errors import UserError, refusal
from kurabe.sizes import Sides

INDEX = "model_index.json"
_DENOISERS = ("unet", "transformer")
_STEM = "diffusion_pytorch_model"
_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_WANTED = ["*.json", "*.txt", "*.safetensors", "*.model", "LICENSE*", "README.md"]


def is_hub_id(text: str) -> bool:
    """Whether the text could name a repository of the hub: owner/name, and no folder here."""
    return bool(_HUB_ID.fullmatch(text)) and not Path(text).exists()


def is_fetched(text: str) -> bool:
    """Whether the text is an id of the hub whose repository was copied here before."""
    if not is_hub_id(text):
        return False
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return False
    return isinstance(try_to_load_from_cache(text, INDEX), str)


def of_hub(text: str) -> Path:
    """The folder that the hub's repository was copied to; fetched where it is not there yet."""
    try:
        hub: Any = importlib.import_module("huggingface_hub")
    except ImportError:
        raise UserError(
            f"'{text}' looks like an id of the Hugging Face hub, which needs kurabe[train]."
        ) from None
    # What was fetched before needs no network. The hub's client raises a dozen kinds of errors,
    # those of its HTTP library among them.
    with suppress(Exception):
        return Path(hub.snapshot_download(text, allow_patterns=_WANTED, local_files_only=True))
    try:
        return Path(hub.snapshot_download(text, allow_patterns=_WANTED))
    except Exception as error:
        said = " ".join(str(error).split()).partition(". ")[0].rstrip(".")
        raise UserError(
            f"'{text}' is no folder here, and the Hugging Face hub did not give it "
            f"({type(error).__name__}: {said}); name a folder that diffusers wrote."
        ) from None


def read_folder(folder: Path) -> tuple[DiffusersNetwork, Sides, int]:
    """Network, sides and channels of images of a folder that diffusers wrote, else UserError."""
    index = _object(folder / INDEX)
    part = denoiser_part(folder, index)
    config = _object(folder / part / "config.json")
    name = _today(_class_of(index, part), config)
    try:
        kind = architecture(name)
    except ValueError as error:
        raise UserError(f"{folder / INDEX}: {part} is {error}.") from None
    try:
        kind.check(config)
    except ValueError as error:
        raise UserError(f"{folder / part / 'config.json'}: {error}.") from None
    scheduler = read_scheduler(
        _object(folder / "scheduler" / "scheduler_config.json"),
        str(folder / "scheduler" / "scheduler_config.json"),
    )
    autoencoder = _autoencoder(folder, index)
    size = _sample_size(folder / part / "config.json", config, kind.granule(config) > 0)
    channels = config.get("in_channels", kind.channels)
    if autoencoder is None and channels not in (1, 3):
        raise UserError(
            f"{folder / part / 'config.json'}: in_channels = {channels} without a vae in {INDEX}: "
            "neither grey nor colour pixels."
        )
    network = DiffusersNetwork(
        architecture=name,
        config=json.dumps(config, sort_keys=True),
        scheduler=scheduler,
        autoencoder=autoencoder,
        prompt=_prompt(folder, index, kind.condition(config)),
    )
    if autoencoder is None:
        return network, size, channels
    height, width = (side * autoencoder.side for side in size)
    return network, (height, width), autoencoder.channels


def denoiser_part(folder: Path, index: dict[str, Any] | None = None) -> str:
    """The name of the part that denoises, "unet" or "transformer"."""
    index = _object(folder / INDEX) if index is None else index
    for part in _DENOISERS:
        if index.get(part):
            return part
    raise UserError(f"{folder / INDEX} names no {' or '.join(_DENOISERS)}: nothing there denoises.")


def weight_files(folder: Path, stem: str = _STEM) -> list[Path]:
    """The safetensors files of a part, in the order of their shards; UserError where there are
    none, some are missing, or only pickles lie there."""
    whole = [folder / f"{stem}.safetensors", folder / f"{stem}.fp16.safetensors"]
    whole.append(folder / f"{stem}.bf16.safetensors")
    for path in whole:
        if path.is_file():
            return [path]
    for listing in sorted(folder.glob(f"{stem}.*index*.json")):
        if ".bin." in listing.name:
            continue
        shards = _object(listing).get("weight_map")
        names = cast(dict[str, Any], shards).values() if isinstance(shards, dict) else (None,)
        if not all(isinstance(name, str) for name in names):
            raise UserError(f"{listing} has no weight_map from names to files.")
        files = [folder / Path(name).name for name in sorted(set(names))]
        missing = [file.name for file in files if not file.is_file()]
        if missing:
            raise UserError(f"{listing} names {missing[0]}, which is not there; fetch it again.")
        return files
    pickles = [p.name for p in sorted(folder.glob("*")) if p.suffix in _PICKLES]
    if pickles:
        raise UserError(
            f"{folder / pickles[0]} is a pickle, which can run code and is never opened; write "
            "the weights as safetensors with save_pretrained(..., safe_serialization=True)."
        )
    raise UserError(f"{folder} has no weights ({stem}.safetensors).")


def parameters(folder: Path) -> int:
    """How many numbers the weights of the denoiser hold, read from the files' headers alone."""
    return sum(_numbers(file) for file in weight_files(folder / denoiser_part(folder)))


def _numbers(file: Path) -> int:
    try:
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            header = json.loads(opened.read(min(length, 100_000_000)))
        return sum(math.prod(of["shape"]) for name, of in header.items() if name != "__metadata__")
    except OSError as error:
        raise refusal(error) from None
    except (ValueError, KeyError, TypeError, AttributeError, struct.error):
        raise UserError(f"{file} is not a safetensors file.") from None


def _object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} is missing; give the whole folder that diffusers wrote.") from None
    except OSError as error:
        raise refusal(error) from None
    except (ValueError, RecursionError):
        raise UserError(f"{path} is not JSON.") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} is not a JSON object.")
    return cast(dict[str, Any], value)


def _class_of(index: dict[str, Any], part: str) -> Any:
    named = index.get(part)
    return _listed(named)[-1] if len(_listed(named)) == 2 else named


def _listed(value: Any) -> list[Any]:
    return cast(list[Any], value) if isinstance(value, list) else []


def _sample_size(path: Path, config: dict[str, Any], rectangles: bool) -> Sides:
    size = config.get("sample_size")
    sides = _listed(size) or [size, size]
    whole = all(isinstance(n, int) and not isinstance(n, bool) and 1 <= n <= 4096 for n in sides)
    if len(sides) != 2 or not whole or (sides[0] != sides[1] and not rectangles):
        kinds = "images of one size" if rectangles else "square images of one size"
        raise UserError(f"{path}: sample_size = {size}; a base draws {kinds}.")
    return sides[0], sides[1]


def _today(name: Any, config: dict[str, Any]) -> str:
    """The class of a denoiser; of an old `Transformer2DModel` that which it is called now."""
    called = config.get("norm_type") if name == "Transformer2DModel" else None
    for today in architectures() if called is not None else ():
        if architecture(today).called_before == called:
            return today
    return str(name)


def _prompt(folder: Path, index: dict[str, Any], condition: str | None) -> Prompt | None:
    """The empty prompt, where one is told; UserError where the index lacks what reads it."""
    if condition is None:
        return None
    try:
        parts_of(condition).present(index)
    except ValueError as error:
        raise UserError(f"{folder / INDEX} {error}.") from None
    return Prompt(folder=str(folder.resolve()), text="")


def _autoencoder(folder: Path, index: dict[str, Any]) -> Autoencoder | None:
    if not index.get("vae"):
        return None
    kind, known = _class_of(index, "vae"), [n for n in registry.ideas("spaces") if n != "pixels"]
    if kind not in known:
        raise UserError(f"{folder / INDEX}: vae is a {kind}; Kurabe can use {', '.join(known)}.")
    path = folder / "vae" / "config.json"
    config = _object(path)
    channels = config.get("in_channels", 3)
    if channels not in (1, 3):
        raise UserError(f"{path}: in_channels = {channels}; images are grey (1) or colour (3).")
    if config.get("latents_mean") or config.get("latents_std"):
        raise UserError(
            f"{path}: latents_mean and latents_std scale each channel by itself, which is not "
            "followed; use an autoencoder with a scaling_factor alone."
        )
    return Autoencoder(
        folder=str(folder.resolve()),
        config=json.dumps(config, sort_keys=True),
        channels=channels,
        side=2 ** (len(config.get("block_out_channels", [0])) - 1),
        scaling=config.get("scaling_factor") or 0.18215,
        shift=config.get("shift_factor") or 0.0,
    )
