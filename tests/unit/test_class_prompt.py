"""DreamBooth's class prompt: what a base that reads draws before training, and is told of it."""

from collections.abc import Iterator
from pathlib import Path

import diffusers_folders
import numpy as np
import pytest
import torch
from test_diffusers import recipe, torch_as_it_was

from kurabe import bases
from kurabe.bases.network import Prompt
from kurabe.data import ImageSet, split
from kurabe.errors import UserError
from kurabe.objectives.prior import Prior
from kurabe.records import RunFolder
from kurabe.runs.bases import network_of
from kurabe.training import load_model
from kurabe.training.diffusers_parts import encoder_of
from kurabe.training.model import start_model
from kurabe.training.prepare_stage import PORTION
from kurabe.training.run import Run, prepare

__all__ = ["torch_as_it_was"]

FIRST = 1 << 19


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("class")
    patch = pytest.MonkeyPatch()
    patch.setenv("KURABE_CACHE", str(place / "cache"))
    yield diffusers_folders.stable_diffusion(place / "base")
    patch.undo()


def begun(folder: Path, base: Path, shows: str | None, asked: str | None) -> Run:
    """A DreamBooth run of images that show that, at its start; the prior asks for the other."""
    rng = np.random.default_rng(0)
    size, channels = (16, 3) if shows is not None else (8, 1)
    pixels = rng.integers(0, 256, (24, size, size, channels), dtype=np.uint8)
    images = ImageSet("noise", pixels, tuple(map(str, range(24))), np.arange(24))
    settings = recipe("dreambooth", base, 200)
    prior = {"term": "prior", "images": 3, "evaluations": 2, "prompt": asked}
    choices = settings.choices.model_dump(mode="json")
    choices["objective"] = [choices["objective"][0], {k: v for k, v in prior.items() if v}]
    changes = {"choices": choices}
    if shows is not None:
        changes["network"] = network_of(bases.find(str(base)), shows)
    settings = recipe("dreambooth", base, 200, **changes)
    run = RunFolder(folder).create(settings.to_toml(), {"id": folder.name})
    model = start_model(settings, size, channels)
    return prepare(settings, model, images, split(images, 0), run, lambda line: None)


def test_the_base_draws_the_class_and_is_told_it_of_what_it_drew(base, tmp_path) -> None:
    run = begun(tmp_path / "run", base, "a sks plant", "a plant")
    asked = load_model(base, prompt=Prompt(folder=str(base), text="a plant"))
    asked.solver, asked.spacing = run.model.solver, run.model.spacing
    expected = asked.space.encode(asked.sample(range(FIRST, FIRST + 3), 2))
    assert PORTION >= 3
    stream = next(s for s in run.objective.streams(0.0) if s.name == "prior")
    fed = run.source.batch(stream, 0, 60)
    # Kept latents are in half precision.
    near = torch.cdist(fed.images.flatten(1), expected.flatten(1)).min(1).values
    assert near.max() < 0.02
    instance = load_model(base, prompt=Prompt(folder=str(base), text="a sks plant"))
    instance.solver, instance.spacing = run.model.solver, run.model.spacing
    other = instance.space.encode(instance.sample(range(FIRST, FIRST + 3), 2))
    assert (other - expected).flatten(1).norm(dim=1).min() > 0.02
    said = encoder_of(run.model.network).encode(["", "a plant"])
    assert fed.condition is not None
    which = torch.cdist(fed.condition.float().flatten(1), said.flatten(1)).argmin(1)
    # A tenth of them is told nothing.
    assert 0 < (which == 0).sum() < 20 and (which == 1).sum() >= 40
    torch.testing.assert_close(fed.condition.float(), said[which], rtol=1e-3, atol=1e-3)
    # The study's own images are told what they were, and the model is asked what it was.
    own = next(s for s in run.objective.streams(0.0) if s.name == "images")
    assert run.source.batch(own, 0, 4).condition is None
    instance = encoder_of(run.model.network).encode(["a sks plant"])
    torch.testing.assert_close(run.model.denoiser.backbone.asked, instance)


def test_without_a_class_prompt_it_draws_what_the_study_asks(base, tmp_path) -> None:
    run = begun(tmp_path / "run", base, "a sks plant", None)
    stream = next(s for s in run.objective.streams(0.0) if s.name == "prior")
    assert run.source.batch(stream, 0, 4).condition is None


@pytest.mark.parametrize("asked", ["a sks plant", "  A sks   PLANT "])
def test_a_class_prompt_that_equals_the_instance_s_is_one_sentence(asked, base, tmp_path) -> None:
    with pytest.raises(UserError, match=r"what --prompt says of your images; name their class"):
        begun(tmp_path / "run", base, "a sks plant", asked)


def test_a_class_prompt_for_a_base_that_does_not_read_is_one_sentence(tmp_path) -> None:
    small = diffusers_folders.ddim(tmp_path / "base")
    with pytest.raises(UserError, match="draws from noise alone; leave its prompt out"):
        begun(tmp_path / "run", small, None, "a plant")


def test_a_prompt_is_said_and_unwritten_where_there_is_none() -> None:
    assert "prompt" not in Prior().model_dump()
    assert "prior preservation" in Prior(prompt="a dog").sentence("en")
    for lang in ("ja", "en"):
        assert '"a dog"' in Prior(prompt="a dog").sentence(lang)
        assert '"' not in Prior().sentence(lang)
