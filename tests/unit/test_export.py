"""What is exported, loaded by diffusers itself: the same pictures."""

from pathlib import Path

import diffusers_folders
import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from test_diffusers import as_array, recipe, torch_as_it_was, trained

from kurabe.diffusion.solvers import ddim
from kurabe.errors import UserError
from kurabe.exports.diffusers import export
from kurabe.records import RunFolder
from kurabe.training import load_model

__all__ = ["torch_as_it_was"]


def drawn_by_diffusers(folder: Path) -> np.ndarray:
    pipeline = DiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(1)
    return pipeline(3, generator, num_inference_steps=10, output_type="np").images


def drawn(folder: Path) -> np.ndarray:
    model = load_model(folder)
    noise = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return as_array(ddim(model.denoiser, noise, model.denoiser.schedule.own_times(10)))


@pytest.mark.parametrize("method", ["full-fine-tuning", "lora"])
def test_diffusers_draws_from_the_export_what_kurabe_draws_from_the_run(method, tmp_path):
    base = diffusers_folders.ddim(tmp_path / "base")
    trained(tmp_path / "run", recipe(method, base))
    export(RunFolder(tmp_path / "run"), tmp_path / "out")
    theirs = drawn_by_diffusers(tmp_path / "out")
    assert np.abs(drawn(tmp_path / "run") - theirs).max() < 1e-4
    assert np.abs(drawn_by_diffusers(base) - theirs).max() > 1e-2
    # And it is a base again.
    assert np.abs(drawn(tmp_path / "out") - theirs).max() < 1e-4


def test_a_run_of_a_run_is_exported_too(tmp_path):
    base = diffusers_folders.ddim(tmp_path / "base")
    trained(tmp_path / "one", recipe("lora", base))
    settings = recipe("full-fine-tuning", base).model_copy(update={"base": str(tmp_path / "one")})
    trained(tmp_path / "two", settings)
    export(RunFolder(tmp_path / "two"), tmp_path / "out")
    assert np.abs(drawn(tmp_path / "two") - drawn_by_diffusers(tmp_path / "out")).max() < 1e-4


def test_what_cannot_be_exported_is_one_sentence(tmp_path):
    base = diffusers_folders.ddim(tmp_path / "base")
    trained(tmp_path / "run", recipe("lora", base))
    with pytest.raises(UserError, match="base is there already; give another --out"):
        export(RunFolder(tmp_path / "run"), base)
    settings = recipe("base", base).model_copy(update={"base": "emoji-32"})
    own = RunFolder(tmp_path / "own").create(settings.to_toml(), {"id": "own"})
    with pytest.raises(UserError, match="did not begin from a folder of diffusers"):
        export(own, tmp_path / "out")
    assert not (tmp_path / "out").exists()
