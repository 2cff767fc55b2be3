"""Any change of Stable Diffusion's network in what ComfyUI loads: one safetensors file.

Low-rank updates as in kohya's format; of every other adaptation the differences of weights, for
which its loader (comfy/lora.py) knows, behind a layer's name,

    .diff     of a weight          .w_norm    of a norm's weight, with
    .diff_b   of a bias            .b_norm    its bias beside it
"""

from pathlib import Path

from torch import Tensor

from kurabe.adaptations.low_rank import LoRA
from kurabe.errors import UserError
from kurabe.exports.described import hashed, kohya, write
from kurabe.exports.kohya import check_known, keys, named
from kurabe.exports.pieces import differences, updates
from kurabe.exports.place import file_for
from kurabe.records import RunFolder
from kurabe.training import load_model


def export(run: RunFolder, out: Path) -> None:
    """Write the file; UserError where the run's base is not Stable Diffusion's."""
    path = file_for(out)
    model = load_model(run.path)
    check_known(run, model)
    if isinstance(model.adaptation, LoRA):
        tensors = {name: w for of in updates(run, model) for name, w in keys(of).items()}
    else:
        tensors = changed(differences(run, model))
    if not tensors:
        raise UserError(f"{run.path} changed no weight of its base, so there is nothing to write.")
    write(path, tensors, hashed(tensors, kohya(run, model, None, None)))


def changed(moved: dict[str, Tensor]) -> dict[str, Tensor]:
    """Differences of parameters by diffusers' names → under the loader's names.

    UserError for a parameter that is neither a weight nor a bias.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in moved.items():
        layer, _, kind = name.rpartition(".")
        if kind not in ("weight", "bias"):
            raise UserError(
                f"'{name}' moved, and ComfyUI's format has names for weights and biases alone; "
                "take --to safetensors, or --to diffusers."
            )
        weight = moved.get(f"{layer}.weight")
        # Its loader reads b_norm beside a w_norm alone.
        norm = weight is not None and weight.dim() == 1
        mark = {"weight": ("diff", "w_norm"), "bias": ("diff_b", "b_norm")}[kind][norm]
        found[f"{named(layer)}.{mark}"] = tensor
    return found
