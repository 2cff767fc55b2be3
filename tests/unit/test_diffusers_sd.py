"""Bases that draw from text, against the pipelines of diffusers."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import diffusers_folders
import numpy as np
import pytest
from diffusers_folders import check_refused, drawn, drawn_by_diffusers, edited, without
from PIL import Image
from test_diffusers import recipe, torch_as_it_was

from kurabe import bases
from kurabe.bases.network import Prompt
from kurabe.data import ImageSet, split
from kurabe.errors import UserError
from kurabe.records import RunFolder
from kurabe.runs.bases import network_of
from kurabe.studies.begin import Request, of_images
from kurabe.training import load_model, train

__all__ = ["torch_as_it_was"]

SCHEDULERS = {
    "1.x": {},
    "2.x, v": {"prediction_type": "v_prediction"},
    "zero terminal": {
        "prediction_type": "v_prediction", "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing", "steps_offset": 0,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", SCHEDULERS)
def test_stable_diffusion_draws_what_its_pipeline_draws(name, tmp_path):
    folder = diffusers_folders.stable_diffusion(tmp_path / "base", **SCHEDULERS[name])
    plain, told = (drawn_by_diffusers(folder, text) for text in ("", "a plant"))
    assert np.abs(drawn(load_model(folder)) - plain).max() < 1e-4
    prompt = Prompt(folder=str(folder), text="a plant")
    assert np.abs(drawn(load_model(folder, prompt=prompt)) - told).max() < 1e-4
    # The text is heard.
    assert np.abs(plain - told).max() > 1e-3


def told(folder: Path, text: str) -> dict[str, object]:
    return network_of(bases.find(str(folder)), text)


def test_where_the_base_lies_is_no_part_of_the_recipe_s_digest(tmp_path):
    one = diffusers_folders.stable_diffusion(tmp_path / "one")
    two = diffusers_folders.stable_diffusion(tmp_path / "two")

    def digest(folder: Path, text: str) -> str:
        settings = recipe("lora", folder, network=told(folder, text))
        return settings.model_copy(update={"base": "there"}).digest

    assert digest(one, "a plant") == digest(two, "a plant") != digest(two, "a stone")


def test_a_text_base_without_a_prompt_is_refused(tmp_path):
    folder = diffusers_folders.stable_diffusion(tmp_path / "base")
    for prompt in (None, "", "  "):
        with pytest.raises(UserError, match=r'base draws from text: say what .* --prompt "a draw'):
            of_images(Request("digits", base=str(folder), channels=3, prompt=prompt), ("lora",))
    with pytest.raises(UserError, match="--prompt is for a base that draws from text"):
        of_images(Request("digits", prompt="a digit"), ("ddpm",))


FAULTS = {
    "xl": (edited("unet/config.json", addition_embed_type="text_time"), "no text_encoder_2"),
    "inpainting": (edited("unet/config.json", in_channels=9), "an image to go on from"),
    "no encoder": (edited("model_index.json", text_encoder=None), "names no text_encoder"),
    "no tokenizer": (edited("model_index.json", tokenizer=[None, None]), "names no tokenizer"),
    "another encoder": (
        edited("model_index.json", text_encoder=["transformers", "BertModel"]),
        "text_encoder is a BertModel",
    ),
    "no weights": (without("text_encoder/model.safetensors"), "text_encoder has no weights"),
    "another width": (edited("unet/config.json", cross_attention_dim=24), "gives 16 numbers"),
    "a deeper encoder": (edited("text_encoder/config.json", num_hidden_layers=3), "lack"),
    "a wider encoder": (
        edited("text_encoder/config.json", intermediate_size=48), "cannot be read",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_misfit_is_one_sentence(name, tmp_path):
    folder = diffusers_folders.stable_diffusion(tmp_path / "base")
    check_refused(folder, *FAULTS[name])


@pytest.mark.parametrize("method", ["full-fine-tuning", "lora"])
def test_a_run_that_goes_on_has_the_weights_of_one_never_stopped(method, tmp_path, monkeypatch):
    monkeypatch.setenv("KURABE_CACHE", str(tmp_path / "cache"))
    folder = diffusers_folders.stable_diffusion(tmp_path / "base")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    images = ImageSet("noise", pixels, tuple(map(str, range(40))), np.arange(40))
    settings = recipe(method, folder, 96, network=told(folder, "a plant"))
    parts = split(images, 0)

    def interrupt(line: dict[str, object]) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    runs = {
        name: RunFolder(tmp_path / name).create(settings.to_toml(), {"id": name})
        for name in ("whole", "stopped")
    }
    train(settings, images, parts, runs["whole"])
    with pytest.raises(KeyboardInterrupt):
        train(settings, images, parts, runs["stopped"], interrupt)
    assert 0 < runs["stopped"].info["images_seen"] < 96
    train(settings, images, parts, runs["stopped"])
    stored = [(run.checkpoints / "model.safetensors").read_bytes() for run in runs.values()]
    assert stored[0] == stored[1]


def test_a_base_that_the_images_do_not_reach_is_refused(tmp_path):
    folder = diffusers_folders.stable_diffusion(tmp_path / "base")
    small = tmp_path / "small"
    small.mkdir()
    rng = np.random.default_rng(0)
    for number in range(24):
        pixels = rng.integers(0, 256, (10, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(small / f"{number}.png")
    request = Request(str(small), base=str(folder), prompt="a stone")
    with pytest.raises(UserError) as raised:
        of_images(request, ("lora",))
    assert str(raised.value) == (
        "base draws 16×16, and 24 of 24 images are smaller than that; use a base that draws "
        "smaller images, or --size 16 to enlarge them."
    )
    enlarged = of_images(replace(request, size=16), ("lora",))
    assert (enlarged.data.size, enlarged.data.channels) == (16, 3)
