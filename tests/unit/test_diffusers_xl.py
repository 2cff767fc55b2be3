"""Stable Diffusion XL: two text encoders, a pooled vector and sizes, against its own pipeline."""

from pathlib import Path

import diffusers_folders
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DiffusionPipeline
from diffusers_folders import check_refused, drawn, drawn_by_diffusers, edited, without
from test_diffusers import recipe, torch_as_it_was

from kurabe import bases
from kurabe.bases.network import Prompt
from kurabe.conditions.text import TextEncoder
from kurabe.data import ImageSet, split
from kurabe.exports.diffusers import export
from kurabe.records import RunFolder
from kurabe.runs.bases import network_of
from kurabe.training import Model, load_model, train

__all__ = ["torch_as_it_was"]


def told(folder: Path, text: str) -> Model:
    return load_model(folder, prompt=Prompt(folder=str(folder), text=text))


BASES = {
    "euler": {},
    "euler, v": {"prediction_type": "v_prediction"},
    "one encoder": {"one_encoder": True},
}


@pytest.mark.parametrize("name", BASES)
def test_it_draws_what_its_pipeline_draws(name, tmp_path):
    folder = diffusers_folders.stable_diffusion_xl(tmp_path / "base", **BASES[name])
    one, two = (drawn_by_diffusers(folder, text) for text in ("a plant", "a stone"))
    assert np.abs(drawn(told(folder, "a plant")) - one).max() < 1e-4
    # The text is heard.
    assert np.abs(one - two).max() > 1e-3


def test_it_draws_what_its_pipeline_draws_by_ddim(tmp_path):
    folder = diffusers_folders.stable_diffusion_xl(tmp_path / "base")
    pipeline = DiffusionPipeline.from_pretrained(folder)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    pipeline.save_pretrained(tmp_path / "ddim")
    theirs = drawn_by_diffusers(tmp_path / "ddim", "a plant")
    assert np.abs(drawn(told(tmp_path / "ddim", "a plant")) - theirs).max() < 1e-4


def test_nothing_said_is_zeros_where_its_index_says_so(tmp_path):
    """diffusers' pipeline puts zeros in the place of a negative prompt that is not given."""
    folder = diffusers_folders.stable_diffusion_xl(tmp_path / "zeros")
    nothing = {
        "prompt_embeds": torch.zeros(2, 12, 40), "pooled_prompt_embeds": torch.zeros(2, 20),
    }  # fmt: skip
    assert np.abs(drawn(told(folder, "")) - drawn_by_diffusers(folder, **nothing)).max() < 1e-4
    encoder = TextEncoder(folder, "joined-states", {})
    encoded = encoder.encode(["", "a plant", ""])
    assert encoded.shape == (3, 13, 40) and (encoder.width, encoder.pooled) == (40, 20)
    assert [bool(row.any()) for row in encoded] == [False, True, False]
    other = diffusers_folders.stable_diffusion_xl(tmp_path / "words", zeros=False)
    theirs = drawn_by_diffusers(other, "")
    assert np.abs(drawn(told(other, "")) - theirs).max() < 1e-4


def test_weights_in_shards_and_halves_are_read(tmp_path):
    folder = diffusers_folders.stable_diffusion_xl(tmp_path / "base")
    as_handed_out(folder, tmp_path / "half")
    shards = {path.parent.name for path in (tmp_path / "half").glob("*/*-of-*.safetensors")}
    assert {"unet", "text_encoder_2"} <= shards
    # Of an autoencoder that overflows in half precision (force_upcast) all is done in float32.
    pipeline = DiffusionPipeline.from_pretrained(
        tmp_path / "half", variant="fp16", torch_dtype=torch.float32
    )
    theirs = drawn_by_diffusers(pipeline, "a plant")
    model = told(tmp_path / "half", "a plant")
    assert np.abs(drawn(model) - theirs).max() < 1e-4
    assert {p.dtype for p in model.space.vae.parameters()} == {torch.float32}


def as_handed_out(folder: Path, out: Path) -> Path:
    """Every part in half precision and in shards, all files named fp16."""
    pipeline = DiffusionPipeline.from_pretrained(folder).to(torch.float16)
    pipeline.save_pretrained(out, variant="fp16", max_shard_size="10kB")
    return out


def check_halves_are_trained_and_exported(folder: Path, method: str, tmp_path: Path) -> None:
    """A folder in half precision trains on a prompt, and its export draws the same."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    images = ImageSet("noise", pixels, tuple(map(str, range(40))), np.arange(40))
    network = network_of(bases.find(str(folder)), "a plant")
    settings = recipe(method, folder, 32, network=network)
    run = RunFolder(tmp_path / "run").create(settings.to_toml(), {"id": "halves"})
    before = drawn(told(folder, "a plant"))
    train(settings, images, split(images, 0), run)
    own = drawn(load_model(tmp_path / "run"))
    export(run, tmp_path / "out")
    theirs = drawn_by_diffusers(tmp_path / "out", "a plant")
    assert np.abs(own - theirs).max() < 1e-4
    assert np.abs(own - before).max() > 1e-3


@pytest.mark.parametrize("method", ["full-fine-tuning", "lora"])
def test_halves_are_trained_and_their_export_draws_the_same(method, tmp_path, monkeypatch):
    monkeypatch.setenv("KURABE_CACHE", str(tmp_path / "cache"))
    whole = diffusers_folders.stable_diffusion_xl(tmp_path / "base")
    check_halves_are_trained_and_exported(as_handed_out(whole, tmp_path / "half"), method, tmp_path)


FAULTS = {
    "no second encoder": (
        edited("model_index.json", text_encoder_2=[None, None]), "names no text_encoder_2",
    ),
    "no second encoder's files": (without("text_encoder_2"), "text_encoder_2 has no weights"),
    "no second tokenizer": (
        edited("model_index.json", tokenizer_2=[None, None]), "names no tokenizer_2",
    ),
    "no second tokenizer's files": (without("tokenizer_2"), "tokenizer_2 is missing"),
    "a tokenizer without its encoder": (
        edited("model_index.json", text_encoder=[None, None]), "names no text_encoder,",
    ),
    "a refiner": (
        edited("unet/config.json", projection_class_embeddings_input_dim=5 * 4 + 20),
        "of a whole text the text encoder gives 20 numbers, and the network takes 16",
    ),
    "another width": (edited("unet/config.json", cross_attention_dim=16), "gives 40 numbers"),
    "images as conditions": (
        edited("unet/config.json", addition_embed_type="image"), "addition_embed_type = image",
    ),
    "a vae of other channels": (edited("vae/config.json", latent_channels=3), "gives 3 channels"),
    "a vae with means": (edited("vae/config.json", latents_mean=[0, 0, 0, 1]), "latents_mean"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_misfit_is_one_sentence(name, tmp_path):
    folder = diffusers_folders.stable_diffusion_xl(tmp_path / "base")
    check_refused(folder, *FAULTS[name])
