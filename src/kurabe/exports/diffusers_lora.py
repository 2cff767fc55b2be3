"""A run's low-rank updates as `pipe.load_lora_weights(FOLDER)` of diffusers reads them:
pytorch_lora_weights.safetensors with the configuration in its header, written by diffusers itself.
"""

import json
import os
from pathlib import Path
from typing import Any

from kurabe.bases import diffusers_folder
from kurabe.errors import UserError
from kurabe.exports.described import card
from kurabe.exports.diffusers import base_of
from kurabe.exports.peft import as_peft
from kurabe.exports.pieces import updates
from kurabe.exports.place import folder_for
from kurabe.files import folder_for_now, naming, write_bytes_atomic
from kurabe.records import RunFolder
from kurabe.training import load_model


def export(run: RunFolder, out: Path) -> None:
    """Write the folder, whole or not at all; UserError where the base's pipeline loads no LoRA."""
    import diffusers
    from peft import get_peft_model_state_dict

    folder_for(out)
    base = base_of(run)
    index = json.loads((base.path / "model_index.json").read_bytes())
    pipeline: Any = getattr(diffusers, index["_class_name"], None)
    part = diffusers_folder.denoiser_part(base.path)
    save = getattr(pipeline, "save_lora_weights", None)
    if save is None:
        raise UserError(
            f"{index['_class_name']} of diffusers loads no LoRA; take --to peft, whose folder "
            f"PeftModel.from_pretrained(pipe.{part}, FOLDER) loads."
        )
    model = load_model(run.path)
    updates(run, model)
    adapted = as_peft(run, model)
    stored = get_peft_model_state_dict(adapted)
    layers = {name.removeprefix("base_model.model."): of for name, of in stored.items()}
    config = adapted.peft_config["default"].to_dict()
    given = {f"{part}_lora_layers": layers, f"{part}_lora_adapter_metadata": config}
    text = card(run, model, "diffusers", ["text-to-image", "diffusers", "lora", "template:sd-lora"])
    out.parent.mkdir(parents=True, exist_ok=True)
    with folder_for_now(out.parent) as beside, naming(out, beside):
        save(beside / out.name, **given)
        write_bytes_atomic(beside / out.name / "README.md", text.encode())
        os.replace(beside / out.name, out)
