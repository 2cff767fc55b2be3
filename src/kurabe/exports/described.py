"""What a file says of itself beside its tensors: strings as kohya's tools and ModelSpec name them,
and a model card. Facts are the run's own; what is not known is left out.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from safetensors.torch import save
from torch import Tensor

from kurabe.files import write_bytes_atomic
from kurabe.recipe import Recipe
from kurabe.records import RunFolder
from kurabe.training import Model

SPEC = "modelspec."
_LINES = 1 << 20


def strings(facts: Mapping[str, Any]) -> dict[str, str]:
    """Facts as a safetensors header holds them: text as it is, all else as JSON or Python has it.

    What is None is left out.
    """
    plain = {k: v for k, v in facts.items() if v is not None}
    return {
        k: v if isinstance(v, str) else json.dumps(v) if isinstance(v, dict | list) else str(v)
        for k, v in plain.items()
    }


def kohya(run: RunFolder, model: Model, dim: int | None, alpha: float | None) -> dict[str, str]:
    """The ss_ and modelspec. strings of a run on Stable Diffusion, without hashes.

    dim, alpha: of the updates where all have one.
    """
    recipe, info = Recipe.from_toml(run.recipe_path), run.info
    optimiser, height_width = recipe.optimiser, model.image_size
    family, spec = _family(model)
    seen = info.get("images_seen")
    trigger = None if model.network.told is None else model.network.told.text
    network = model.network
    training = {
        "ss_v2": family == "sd_v2",
        "ss_base_model_version": family,
        "ss_network_module": "networks.lora",
        "ss_network_dim": dim if dim is not None else "Dynamic",
        "ss_network_alpha": alpha if alpha is not None else "Dynamic",
        "ss_network_args": recipe.choices.adaptation.model_dump(mode="json"),
        "ss_output_name": run.path.name,
        "ss_learning_rate": optimiser.lr,
        "ss_optimizer": optimiser.kind,
        "ss_num_train_images": info.get("training_images"),
        "ss_total_batch_size": optimiser.batch,
        "ss_steps": None if seen is None else -(-seen // optimiser.batch),
        "ss_seed": recipe.seed,
        "ss_resolution": f"({height_width[1]}, {height_width[0]})",
        "ss_sd_model_name": recipe.base,
        "ss_training_comment": f"kurabe {recipe.method}, recipe {recipe.digest}",
    }
    described = {
        "sai_model_spec": "1.0.1",
        "architecture": f"{spec}/lora",
        "implementation": "diffusers",
        "title": run.path.name,
        "resolution": f"{height_width[1]}x{height_width[0]}",
        "description": f"{recipe.method} of {recipe.base} on {recipe.data.source}",
        "date": str(info.get("started") or "")[:19] or None,
        "trigger_phrase": trigger or None,
        "prediction_type": {"eps": "epsilon", "v": "v"}.get(network.prediction),
    }
    return strings(training | {SPEC + key: value for key, value in described.items()})


def _family(model: Model) -> tuple[str, str]:
    """kohya's name of the base's kind, and ModelSpec's."""
    config = json.loads(getattr(model.network, "config", "{}"))
    if config.get("addition_embed_type") == "text_time":
        return "sdxl_base_v1-0", "stable-diffusion-xl-v1-base"
    if config.get("cross_attention_dim") == 1024:
        return "sd_v2", "stable-diffusion-v2-512"
    return "sd_v1", "stable-diffusion-v1"


def hashed(tensors: dict[str, Tensor], facts: dict[str, str]) -> dict[str, str]:
    """The facts and both hashes by which AUTOMATIC1111's additional networks find a file.

    Both are of the file as it would be with the ss_ strings alone: SHA-256 of what lies behind the
    header, and its first eight digits over 64 KiB at 1 MiB (kohya-ss/sd-scripts, train_util.py).
    """
    own = save(tensors, {k: v for k, v in facts.items() if k.startswith("ss_")})
    start = 8 + int.from_bytes(own[:8], "little")
    legacy = hashlib.sha256(own[_LINES : _LINES + (1 << 16)]).hexdigest()[:8]
    whole = hashlib.sha256(own[start:]).hexdigest()
    found = {"sshs_model_hash": whole, "sshs_legacy_hash": legacy}
    return facts | found | {f"{SPEC}hash_sha256": f"0x{whole}"}


def write(path: Any, tensors: dict[str, Tensor], facts: dict[str, str]) -> None:
    """One safetensors file, whole or not at all."""
    write_bytes_atomic(path, save(tensors, {"format": "pt", **facts}))


def card(run: RunFolder, model: Model, library: str, tags: list[str]) -> str:
    """A README.md as model hubs read it: front matter, what was trained on what, and the facts."""
    recipe, info = Recipe.from_toml(run.recipe_path), run.info
    told = model.network.told
    front: dict[str, Any] = {"library_name": library, "base_model": recipe.base, "tags": tags}
    if told is not None:
        front |= {"instance_prompt": told.text}
    head = "\n".join(f"{key}: {json.dumps(value)}" for key, value in front.items())
    facts = {
        "method": recipe.method,
        "base": recipe.base,
        "data": recipe.data.source,
        "training images": info.get("training_images"),
        "images seen": info.get("images_seen"),
        "trainable parameters": info.get("trainable"),
        "learning rate": recipe.optimiser.lr,
        "seed": recipe.seed,
        "recipe": recipe.digest,
    }
    rows = "\n".join(f"| {key} | {value} |" for key, value in facts.items() if value is not None)
    return f"---\n{head}\n---\n\n# {run.path.name}\n\n| | |\n|---|---|\n{rows}\n"
