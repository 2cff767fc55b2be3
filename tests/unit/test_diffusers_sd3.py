"""Stable Diffusion 3: a flow in 16 channels of latents, three texts, against its own pipeline."""

import diffusers_folders
import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from diffusers_folders import check_refused, drawn, drawn_by_diffusers, edited, without
from test_diffusers import recipe, torch_as_it_was
from test_diffusers_xl import as_handed_out, check_halves_are_trained_and_exported, told

from kurabe import bases
from kurabe.runs.bases import network_of
from kurabe.training.diffusers_parts import encoder_of
from kurabe.training.model import start_model

__all__ = ["torch_as_it_was"]


BASES = {
    "shift 3": {},
    "no shift": {"shift": 1.0},
    "without T5": {"with_t5": False},
}


@pytest.mark.parametrize("name", BASES)
def test_it_draws_what_its_pipeline_draws(name, tmp_path):
    folder = diffusers_folders.stable_diffusion_3(tmp_path / "base", **BASES[name])
    # As diffusers itself asks of who has no T5.
    left_out = dict.fromkeys(("text_encoder_3", "tokenizer_3")) if name == "without T5" else {}
    pipeline = DiffusionPipeline.from_pretrained(folder, **left_out)
    for text in ("a plant", ""):
        theirs = drawn_by_diffusers(pipeline, text)
        assert np.abs(drawn(told(folder, text)) - theirs).max() < 1e-4
    # The text is heard.
    other = drawn_by_diffusers(pipeline, "a stone")
    assert np.abs(other - theirs).max() > 1e-3


def test_features_are_the_image_s_stream_behind_each_joint_block(tmp_path):
    model = told(diffusers_folders.stable_diffusion_3(tmp_path / "base"), "a plant")
    layers = model.feature_layers
    assert layers == ("block-1", "block-2", "block-3")
    x, t = torch.randn(2, 16, 8, 8), torch.tensor([0.2, 0.5])
    found = model.features(x, t, layers)
    assert {layer: found[layer].shape for layer in layers} == dict.fromkeys(layers, (2, 16, 16))
    assert [model.grid_of(layer) for layer in layers] == [(4, 4)] * 3
    # What the last one gives makes the prediction: its norm, its projection, its patches put back.
    network = model.denoiser.backbone.get_submodule("network")
    encoder = encoder_of(model.network)
    pooled = encoder.encode(["a plant"])[:, -1, :34].expand(2, -1)
    with torch.no_grad():
        moment = network.time_text_embed(t * 1000, pooled)
        patches = network.proj_out(network.norm_out(found["block-3"], moment))
        image = patches.reshape(2, 4, 4, 2, 2, 16).permute(0, 5, 1, 3, 2, 4).reshape(2, 16, 8, 8)
        expected = model.denoiser.predict(x, t).prediction
    torch.testing.assert_close(image, expected, rtol=1e-4, atol=1e-5)


def test_low_rank_attention_is_the_image_s_and_the_text_s(tmp_path):
    folder = diffusers_folders.stable_diffusion_3(tmp_path / "base")
    network = network_of(bases.find(str(folder)), "a plant")
    settings = recipe("lora", folder, 32, network=network)
    choices = settings.choices.model_dump(mode="json")
    choices["adaptation"]["targets"] = "attention"
    model = start_model(recipe("lora", folder, 32, network=network, choices=choices), 16, 3)
    ends = {n.split(".lora_")[0].rsplit(".", 1)[-1] for n in model.adaptation.state()}
    assert ends == {
        "to_q", "to_k", "to_v", "0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out",
    }  # fmt: skip


@pytest.mark.parametrize("method", ["full-fine-tuning", "lora"])
def test_halves_are_trained_and_their_export_draws_the_same(method, tmp_path, monkeypatch):
    monkeypatch.setenv("KURABE_CACHE", str(tmp_path / "cache"))
    whole = diffusers_folders.stable_diffusion_3(tmp_path / "base")
    folder = as_handed_out(whole, tmp_path / "half")
    assert len(list(folder.glob("transformer/*-of-*.safetensors"))) > 1
    check_halves_are_trained_and_exported(folder, method, tmp_path)


INDEX, NETWORK, SCHEDULER = (
    "model_index.json", "transformer/config.json", "scheduler/scheduler_config.json",
)  # fmt: skip
FAULTS = {
    "no second encoder": (edited(INDEX, text_encoder_2=[None, None]), "names no text_encoder_2"),
    "no first tokenizer": (edited(INDEX, tokenizer=[None, None]), "names no tokenizer,"),
    "half of T5": (edited(INDEX, text_encoder_3=[None, None]), "names no text_encoder_3"),
    "no files of T5": (without("text_encoder_3"), "text_encoder_3 has no weights"),
    "no files of its tokenizer": (without("tokenizer_3"), "tokenizer_3 is missing"),
    "another width": (edited(NETWORK, joint_attention_dim=32), "gives 40 numbers"),
    "another pooled width": (
        edited(NETWORK, pooled_projection_dim=20),
        "of a whole text the text encoder gives 34 numbers, and the network takes 20",
    ),
    "a vae of other channels": (edited("vae/config.json", latent_channels=4), "gives 4 channels"),
    "more than the flow": (edited(NETWORK, out_channels=32), "out_channels = 32"),
    "a shift that goes by the size": (
        edited(SCHEDULER, use_dynamic_shifting=True), "use_dynamic_shifting = true",
    ),
    "another transformer": (
        edited(INDEX, transformer=["diffusers", "FluxTransformer2DModel"]),
        "transformer is a FluxTransformer2DModel; Kurabe can use DiTTransformer2DModel, "
        "PixArtTransformer2DModel, SD3Transformer2DModel, UNet2DConditionModel, UNet2DModel",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_misfit_is_one_sentence(name, tmp_path):
    folder = diffusers_folders.stable_diffusion_3(tmp_path / "base")
    check_refused(folder, *FAULTS[name])
