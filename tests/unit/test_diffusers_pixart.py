"""PixArt: a T5 encoder whose padding is not attended to, against its own pipeline."""

import json

import diffusers_folders
import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from diffusers_folders import drawn, drawn_by_diffusers
from test_diffusers_xl import told

from kurabe.conditions.text import TextEncoder
from kurabe.errors import UserError
from kurabe.training import load_model

BASES = {"plain": {}, "told sizes": {"told_sizes": True}}


@pytest.mark.parametrize("name", BASES)
def test_it_draws_what_its_pipeline_draws(name, tmp_path, monkeypatch):
    folder = diffusers_folders.pixart(tmp_path / "base", **BASES[name])
    pipeline = DiffusionPipeline.from_pretrained(folder)
    if name == "told sizes":
        # The pipeline gives sizes to networks of 128 × 128 latents alone.
        own = pipeline.transformer.forward
        sizes = {"resolution": torch.full((2, 2), 16.0), "aspect_ratio": torch.ones(2, 1)}
        monkeypatch.setattr(
            pipeline.transformer,
            "forward",
            lambda *given, **named: own(*given, **{**named, "added_cond_kwargs": sizes}),
        )
    for text in ("A plant ", ""):
        theirs = drawn_by_diffusers(pipeline, text)
        assert np.abs(drawn(told(folder, text)) - theirs).max() < 1e-4
    # The text is heard.
    assert np.abs(drawn_by_diffusers(pipeline, "a stone") - theirs).max() > 1e-3


def test_what_is_no_token_is_zeros(tmp_path):
    folder = diffusers_folders.pixart(tmp_path / "base")
    states = TextEncoder(folder, "masked-states", {}).encode(["", "abc"])
    # A T5 tokenizer puts the end behind a text, and this one "▁" before its first letter.
    assert states.any(-1).sum(1).tolist() == [1, 5]


def test_one_that_was_called_a_transformer_2d_is_known(tmp_path):
    folder = diffusers_folders.pixart(tmp_path / "base")
    before = drawn(told(folder, "a plant"))
    for path, old in (("model_index.json", "transformer"), ("transformer/config.json", None)):
        config = json.loads((folder / path).read_text())
        if old:
            config[old] = ["diffusers", "Transformer2DModel"]
        else:
            config |= {"_class_name": "Transformer2DModel", "norm_type": "ada_norm_single"}
        (folder / path).write_text(json.dumps(config))
    assert np.array_equal(drawn(told(folder, "a plant")), before)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"caption_channels": 32}, r"gives 40 numbers, and the network takes 32\.$"),
        ({"out_channels": 12}, r"in_channels = 4, out_channels = 12: .* of PixArt-α or Σ\.$"),
    ],
)
def test_a_misfit_is_one_sentence(changes, said, tmp_path):
    folder = diffusers_folders.pixart(tmp_path / "base")
    path = folder / "transformer" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(UserError, match=said):
        load_model(folder)
