"""`kurabe adapter check`: tensors counted, what is lost and why, the change as the run has it."""

import json
from collections.abc import Callable
from pathlib import Path

import diffusers_folders
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_adapter_exports import run, stable, torch_as_it_was
from typer.testing import CliRunner

from kurabe.bases.network import Prompt
from kurabe.cli import app
from kurabe.errors import UserError
from kurabe.exports import comfy, diffusers_lora, kohya, peft, plain
from kurabe.exports.check import EVALUATIONS, check
from kurabe.exports.fit import SEEDS
from kurabe.records import RunFolder
from kurabe.training import load_model

__all__ = ["stable", "torch_as_it_was"]


FORMS: dict[str, Callable[[RunFolder, Path], object]] = {
    "kohya.safetensors": kohya.export,
    "comfy.safetensors": comfy.export,
    "plain.safetensors": plain.export,
    "peft": peft.export,
    "diffusers": diffusers_lora.export,
}


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_every_form_of_a_run_fits_and_changes_as_much_as_the_run(kind, tmp_path, stable) -> None:
    folder = stable(kind)
    base = folder.path.parent / "base"
    # The check draws as the base does, told nothing.
    model = load_model(folder.path, prompt=Prompt(folder=str(base), text=""))
    plainly = load_model(base)
    model.solver, model.spacing = plainly.solver, plainly.spacing
    drawn, before = (m.sample(SEEDS, EVALUATIONS).astype(int) for m in (model, plainly))
    expected = np.abs(drawn - before).mean()
    for name, export in FORMS.items():
        export(folder, tmp_path / name)
        found = check(tmp_path / name, str(base))
        assert not found.lost and len(found.fits) == found.tensors > 0
        assert found.mean == pytest.approx(expected, rel=0.02) and found.mean > 0.2


@pytest.mark.parametrize("kind", ["full", "difffit", "tlora", "peft:vera"])
def test_kurabe_s_own_file_changes_pixels_as_the_run_does(kind, tmp_path) -> None:
    base = diffusers_folders.ddim(tmp_path / "base")
    folder = run(tmp_path / "run", base, kind)
    plain.export(folder, tmp_path / "own.safetensors")
    found = check(tmp_path / "own.safetensors", str(base))
    assert not found.lost and found.tensors == len(load_file(tmp_path / "own.safetensors"))
    # A base draws by its own solver, a run by its recipe's: the run is read as the base is.
    model, plainly = load_model(folder.path), load_model(base)
    model.solver, model.spacing = plainly.solver, plainly.spacing
    drawn, before = (m.sample(SEEDS, EVALUATIONS).astype(int) for m in (model, plainly))
    assert found.mean == pytest.approx(np.abs(drawn - before).mean(), rel=0.02)
    assert found.mean > 0


def test_a_folder_of_peft_s_other_tuners_is_read_by_peft(tmp_path) -> None:
    base = diffusers_folders.ddim(tmp_path / "base")
    peft.export(run(tmp_path / "run", base, "peft:lokr"), tmp_path / "out")
    found = check(tmp_path / "out", str(base))
    assert not found.lost and found.fits and found.mean > 0


def test_what_is_lost_is_named_with_its_reason(tmp_path) -> None:
    base = diffusers_folders.ddim(tmp_path / "base")
    layer = "down_blocks.1.attentions.0.to_q"
    given = {
        f"{layer}.lora_A.weight": torch.randn(2, 16),
        f"{layer}.lora_B.weight": torch.randn(16, 2),
        "down_blocks.9.attentions.0.to_q.lora_A.weight": torch.randn(2, 16),
        "down_blocks.1.attentions.0.to_k.lora_A.weight": torch.randn(2, 16),
        "down_blocks.1.attentions.0.to_v.lora_A.weight": torch.randn(2, 24),
        "down_blocks.1.attentions.0.to_v.lora_B.weight": torch.randn(16, 2),
        "up_blocks.0.attentions.0.to_q.lora_A.weight": torch.randn(2, 16),
        "up_blocks.0.attentions.0.to_q.lora_B.weight": torch.randn(16, 3),
        "lora_te_text_model_encoder_layers_0_mlp_fc1.alpha": torch.tensor(1.0),
        "something.else": torch.zeros(1),
    }
    save_file(given, tmp_path / "a.safetensors")
    found = check(tmp_path / "a.safetensors", str(base))
    assert sorted(found.fits) == [f"{layer}.lora_A.weight", f"{layer}.lora_B.weight"]
    reasons = "\n".join(found.lost.values())
    for said in (
        "no layer 'down_blocks.9.attentions.0.to_q'", "other half", "16 × 24, the layer 16 × 16",
        "A has rank 2, B has rank 3", "text encoder", "no change that is known",
    ):  # fmt: skip
        assert said in reasons


ODD = {
    "not finite": ({"lora_A": torch.full((2, 16), torch.nan)}, "no finite number"),
    "a scalar": ({"lora_A": torch.ones(())}, "are matrices"),
    "no rank": ({"lora_A": torch.ones(0, 16), "lora_B": torch.ones(16, 0)}, "rank is 0"),
    "three alphas": ({"alpha": torch.ones(3)}, "alpha is 3 numbers"),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_tensors_are_lost_with_their_reason(name, tmp_path) -> None:
    base, (given, said) = diffusers_folders.ddim(tmp_path / "base"), ODD[name]
    layer = "down_blocks.1.attentions.0.to_q"
    plain = {"lora_A": torch.ones(2, 16), "lora_B": torch.ones(16, 2)} | given
    stored = {f"{layer}.{k}{'' if k == 'alpha' else '.weight'}": w for k, w in plain.items()}
    save_file({**stored, "conv_in.diff": torch.ones(8, 1, 3, 3)}, tmp_path / "a.safetensors")
    found = check(tmp_path / "a.safetensors", str(base))
    assert found.fits == ["conv_in.diff"] and any(said in why for why in found.lost.values())


def test_two_tensors_for_one_place_are_not_counted_twice(tmp_path) -> None:
    base = diffusers_folders.ddim(tmp_path / "base")
    twice = {name: torch.ones(8, 1, 3, 3) for name in ("conv_in.diff", "lora_unet_conv_in.diff")}
    save_file(twice, tmp_path / "a.safetensors")
    found = check(tmp_path / "a.safetensors", str(base))
    assert found.fits == ["conv_in.diff"] and found.tensors == 2
    assert "of the same layer already" in found.lost["lora_unet_conv_in.diff"]


def test_a_file_that_changes_nothing_says_so(tmp_path) -> None:
    base = diffusers_folders.ddim(tmp_path / "base")
    zero = {"conv_in.diff": torch.zeros(8, 1, 3, 3)}
    save_file(zero, tmp_path / "zero.safetensors")
    words = ["adapter", "check", str(tmp_path / "zero.safetensors"), "--base", str(base)]
    told = CliRunner().invoke(app, [*words, "--lang", "en"])
    assert told.exit_code == 0 and "do not change at all" in told.output


def test_the_command_counts_and_measures_in_both_languages(tmp_path) -> None:
    base = diffusers_folders.ddim(tmp_path / "base")
    save_file({"conv_in.diff": torch.ones(8, 1, 3, 3)}, tmp_path / "a.safetensors")
    words = ["adapter", "check", str(tmp_path / "a.safetensors"), "--base", str(base)]
    said = {lang: CliRunner().invoke(app, [*words, "--lang", lang]).output for lang in ("ja", "en")}
    assert "1 of 1 tensor fits" in said["en"] and "1 個のテンソルのうち 1 個" in said["ja"]
    told = json.loads(CliRunner().invoke(app, [*words, "--json"]).output)
    assert told["tensors"] == 1 and told["fits"] == ["conv_in.diff"] and told["change"]["mean"] > 0


def test_an_adapter_of_another_base_or_no_adapter_is_one_sentence(tmp_path) -> None:
    base = diffusers_folders.ddim(tmp_path / "base")
    folder = run(tmp_path / "run", base, "lora")
    plain.export(folder, tmp_path / "own.safetensors")
    with pytest.raises(UserError, match=r"does not fit fashion-28: none of its|matches no linear"):
        check(tmp_path / "own.safetensors", "fashion-28")
    other = {"blocks.0.qkv.lora_A.weight": torch.randn(2, 8)}
    save_file(other, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="none of its 1 tensors does"):
        check(tmp_path / "other.safetensors", str(base))
    (tmp_path / "x.safetensors").write_bytes(b"no such thing")
    with pytest.raises(UserError, match="is not a safetensors file"):
        check(tmp_path / "x.safetensors", str(base))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds neither"):
        check(tmp_path / "empty", str(base))
    save_file({}, tmp_path / "none.safetensors")
    with pytest.raises(UserError, match="holds no tensors"):
        check(tmp_path / "none.safetensors", str(base))
    with pytest.raises(UserError, match="There is no"):
        check(tmp_path / "missing.safetensors", str(base))
