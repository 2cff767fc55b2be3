"""What a run changed of its base, in the two forms that other tools' files hold: low-rank updates
of layers, and differences of weights.

    W′ = W + s B A    (DoRA: rows of it brought to the lengths m)        W′ = W + ΔW

Names of layers are those of the network of diffusers where the base is one, else of Kurabe's own.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from kurabe.adaptations.low_rank import LoRA
from kurabe.errors import UserError
from kurabe.recipe import Recipe
from kurabe.records import RunFolder
from kurabe.training import Model, load_model

_INSIDE = "network."


@dataclass(frozen=True)
class Update:
    """A low-rank update of one layer: s B A with A (r, in) and B (out, r); m (out,) of a DoRA."""

    layer: str
    a: Tensor
    b: Tensor
    scale: float
    magnitude: Tensor | None = None

    @property
    def rank(self) -> int:
        return len(self.a)

    @property
    def alpha(self) -> float:
        """What tools divide by the rank to get s."""
        return self.scale * self.rank


def outside(name: str) -> str:
    """The name of a parameter or layer without what Kurabe's frame around a network adds."""
    return name.removeprefix(_INSIDE)


def network_of(model: Model) -> nn.Module:
    """The module that those names are of."""
    backbone = model.denoiser.backbone
    return cast(nn.Module, getattr(backbone, "network", backbone))


def check_whole(run: RunFolder, model: Model) -> None:
    """UserError where a run holds more than its adaptation, which no adapter's file has a place
    for: a table of new classes, a second head, a closed form fitted to its images."""
    backbone = model.denoiser.backbone
    more = sorted(backbone.fresh | backbone.fitted)
    if more:
        raise UserError(
            f"{run.path} holds '{more[0]}' beside what it adapted, and an adapter's file has no "
            "place for it; its weights lie in checkpoints/model.safetensors."
        )


def updates(run: RunFolder, model: Model) -> list[Update]:
    """The low-rank updates of a run; UserError where it made none, or such as depend on t.

    PiSSA's B A − B₀ A₀ is one of twice the rank.
    """
    adaptation, choice = model.adaptation, Recipe.from_toml(run.recipe_path).choices.adaptation
    check_whole(run, model)
    if not isinstance(adaptation, LoRA):
        raise UserError(
            f"{run.path} was adapted by '{choice.kind}', which makes no low-rank updates; "
            "--to comfy or --to safetensors writes what it changed."
        )
    if not choice.merges:
        raise UserError(
            f"{run.path}: a {choice.kind} changes with the noise level, and no other tool's file "
            "says so; --to safetensors keeps it for Kurabe."
        )
    modules = model.denoiser.backbone.named_modules()
    return [_update(outside(name), of) for name, of in modules if isinstance(of, LoraLayer)]


def _update(name: str, layer: Any) -> Update:
    a, b = (_kept(of["default"].weight) for of in (layer.lora_A, layer.lora_B))
    scale, own = float(layer.scaling["default"]), dict(layer.named_buffers(recurse=False))
    if "start_a" in own:
        a, b = torch.cat([a, own["start_a"]]), torch.cat([b, -own["start_b"]], 1)
    directed = getattr(layer, "lora_magnitude_vector", None)
    magnitude = _kept(directed["default"].weight) if directed else None
    return Update(name, a, b, scale, magnitude)


def differences(run: RunFolder, model: Model) -> dict[str, Tensor]:
    """What a run's weights are more than its base's, by name; those that moved.

    model: the run's, which is merged. UserError where the change is none of weights.
    """
    check_whole(run, model)
    recipe = Recipe.from_toml(run.recipe_path)
    if recipe.base is None:
        raise UserError(f"{run.path} began from random weights, so it is no change of a base.")
    model.adaptation.merge()
    before = load_model(recipe.base)
    before.adaptation.merge()
    old = before.denoiser.backbone.state_dict()
    found = {n: w - old[n] for n, w in model.denoiser.backbone.state_dict().items() if n in old}
    return {outside(name): _kept(of) for name, of in found.items() if of.any()}


def _kept(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous().clone()
