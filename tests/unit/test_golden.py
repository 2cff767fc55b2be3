"""Golden weights: what the shipped methods start from and where eight updates lead.

The digests were written before networks of other makers could enter. Initial weights are the same
numbers on every machine (torch's generator on a CPU is defined by its seed); trained ones differ
in the last digits between processors, so of them the norms are kept, to five digits.
"""

import hashlib
import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from kurabe import bases
from kurabe.data import ImageSet, split
from kurabe.methods import choices_of, find
from kurabe.recipe import Recipe
from kurabe.records import RunFolder
from kurabe.training import load_model, train
from kurabe.training.model import start_model

NETWORK = {"patch": 2, "width": 32, "depth": 2, "heads": 2, "decoder": 1}
STARTS = {
    "ddpm": "433672f401519677",
    "contrastive-diffusion": "433672f401519677",
    "masked-diffusion": "433672f401519677",
}
RECIPES = {
    "ddpm": "c7e0d9338267",
    "contrastive-diffusion": "373fad94c5f5",
    "masked-diffusion": "80c48eb1b3b6",
}
TRAINED = {
    "ddpm": 0.31348475789256536,
    "contrastive-diffusion": 0.3253216502210295,
    "masked-diffusion": 0.42825495917810175,
}


def recipe(method: str, **changes: object) -> Recipe:
    settings = {
        "method": method,
        "choices": choices_of(find(method)).model_dump(mode="json"),
        "data": {"source": "digits"},
        "budget": {"images": 256},
        "network": NETWORK,
        "optimiser": {"batch": 32, "lr": 1e-3, "held_out_share": 1.0},
    }
    if method == "contrastive-diffusion":
        settings["choices"]["objective"][1]["comparison_batch"] = 8
    return Recipe.checked(settings | changes, "test")


def digest(state: dict[str, torch.Tensor]) -> str:
    found = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        found.update(name.encode() + tensor.detach().numpy().tobytes())
    return found.hexdigest()[:16]


@pytest.mark.parametrize("method", STARTS)
def test_recipes_are_called_as_before(method: str) -> None:
    assert recipe(method).digest == RECIPES[method]


@pytest.mark.parametrize("method", STARTS)
def test_random_weights_are_those_of_before(method: str) -> None:
    # Sines, and what xavier's bound is computed from, are the processor's own in the last digit.
    state = start_model(recipe(method), 8, 1).denoiser.state_dict()
    rounded = {name: (w * 1e5).round().to(torch.int32) for name, w in state.items()}
    assert digest(rounded) == STARTS[method]


@pytest.mark.parametrize("method", TRAINED)
def test_eight_updates_lead_where_they_led_before(method: str, tmp_path) -> None:
    bunch = load_digits()
    pixels = np.rint(bunch.images[:120] * (255 / 16)).astype(np.uint8)[..., None]
    places = np.arange(120)
    images = ImageSet("digits", pixels, tuple(map(str, places)), places)
    settings = recipe(method)
    run = RunFolder(tmp_path).create(settings.to_toml(), {"id": "golden"})
    try:
        model = train(settings, images, split(images, 0), run)
    finally:
        torch.use_deterministic_algorithms(False)
    start = start_model(settings, 8, 1).denoiser.state_dict()
    moved = [(w - start[n]).double().square().sum() for n, w in model.denoiser.state_dict().items()]
    assert float(sum(moved)) ** 0.5 == pytest.approx(TRAINED[method], rel=1e-4)


@pytest.mark.parametrize("name", bases.available())
def test_a_shipped_base_predicts_as_before(name: str) -> None:
    model = load_model(name)
    wave = torch.linspace(-1, 1, model.channels * math.prod(model.image_size))
    x_t = (9 * wave).sin().view(1, model.channels, *model.image_size)
    with torch.no_grad():
        x0 = model.denoiser(x_t, torch.tensor([0.4]))
    assert float(x0.double().square().mean()) == pytest.approx(BASES[name], rel=1e-4)


BASES = {"emoji-32": 0.6667742850198354, "fashion-28": 0.6538286076428793}
