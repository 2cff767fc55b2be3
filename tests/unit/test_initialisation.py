"""Another draw of random weights under the same seed: what the A/A study's columns differ in."""

import numpy as np
import pytest
import torch

from kurabe.data import ImageSet, Split
from kurabe.methods import choices_of, find
from kurabe.recipe import Recipe
from kurabe.records import RunFolder
from kurabe.studies.begin import RECIPES
from kurabe.studies.state import StudyState
from kurabe.studies.study import Study
from kurabe.training.model import start_model
from kurabe.training.run import prepare


def tiny(**changes):
    settings = {
        "method": "ddpm",
        "choices": choices_of(find("ddpm")).model_dump(mode="json"),
        "data": {"source": "digits"},
        "budget": {"images": 32},
        "network": {"patch": 2, "width": 32, "depth": 2, "heads": 2, "decoder": 0},
    }
    return Recipe.checked(settings | changes, "test")


def weights(**changes):
    return dict(start_model(tiny(**changes), 8, 1).denoiser.named_parameters())


def heads(folder, method, **changes):
    """The weights that the terms of a method's objective train and throw away."""
    places = np.arange(4)
    images = ImageSet("grey", np.zeros((4, 8, 8, 1), np.uint8), tuple(map(str, places)), places)
    split = Split(train=places, validation=places, test=places)
    choices = choices_of(find(method)).model_dump(mode="json")
    recipe = tiny(choices=choices, optimiser={"batch": 256}, **changes)
    model = start_model(recipe, 8, 1)
    run = prepare(recipe, model, images, split, RunFolder(folder), lambda line: None)
    return {
        name: weight.detach()
        for name, weight in run.objective.named_parameters()
        if name.startswith("terms.") and weight.dim() > 1
    }


def test_another_initialisation_draws_every_random_weight_anew():
    first, again, other = weights(), weights(initialisation=0), weights(initialisation=1)
    # Positions begin as sines, biases and gates as constants: nothing in them is drawn.
    drawn = [
        name
        for name, weight in first.items()
        if weight.dim() > 1 and weight.std() > 0 and name != "backbone.position"
    ]
    assert len(drawn) > 8
    assert all(torch.equal(first[name], again[name]) for name in first)
    for name in drawn:
        assert (first[name] != other[name]).float().mean() > 0.9, name
        pair = torch.stack([first[name].flatten(), other[name].flatten()])
        # Independent draws: |r| below four standard errors.
        assert abs(torch.corrcoef(pair)[0, 1]) < 4 / pair.shape[1] ** 0.5, name


@pytest.mark.parametrize("method", ["contrastive-diffusion", "masked-diffusion"])
def test_another_initialisation_draws_the_heads_anew_too(tmp_path, method):
    torch.manual_seed(1)
    first = heads(tmp_path, method)
    torch.manual_seed(2)
    again, other = heads(tmp_path, method), heads(tmp_path, method, initialisation=1)
    seeded = heads(tmp_path, method, seed=1)
    assert first.keys() == other.keys() == seeded.keys() and first
    for name, weight in first.items():
        assert torch.equal(weight, again[name])
        for drawn in (other[name], seeded[name]):
            pair = torch.stack([weight.flatten(), drawn.flatten()])
            assert abs(torch.corrcoef(pair)[0, 1]) < 4 / pair.shape[1] ** 0.5, name


def test_the_columns_of_the_shipped_a_a_study_differ_in_that_alone():
    study = Study.from_toml(RECIPES / "a-a.toml")
    assert len(study.columns) * study.blocks >= 100
    recipes = [study.recipe(column, 3, StudyState()) for column in study.columns]
    assert [recipe.initialisation for recipe in recipes] == [0, 1, 2, 3]
    alike = {recipe.model_copy(update={"initialisation": 0}).digest for recipe in recipes}
    assert (len(alike), {recipe.seed for recipe in recipes}) == (1, {2})
    assert len({recipe.digest for recipe in recipes}) == 4
