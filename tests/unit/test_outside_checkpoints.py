"""Columns from checkpoints that others trained: folders of diffusers, drawn and measured here.

What diffusers wrote is a small UNet of random weights; the same folder is drawn from by the house's
own sampler, which is held against diffusers' pipelines in test_diffusers_parts.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from PIL import Image
from sklearn.datasets import load_digits

from kurabe.cli import answer
from kurabe.comparison import study_table
from kurabe.evaluation.samples import sample_seeds
from kurabe.outside_settings import columns_of
from kurabe.records import StudyFolder
from kurabe.studies.study import Study
from kurabe.training import load_model

SAMPLES = 20
EVALUATION = {
    "encoder": "pixels", "samples": SAMPLES, "evaluations": 2, "loss_images": 4, "log_snrs": [4],
    "grids": [1], "place": [0.5, 4, 1], "search_images": 20, "views": 1,
}  # fmt: skip


def save_unet(folder, seed):
    torch.manual_seed(seed)
    unet = UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 16),
        layers_per_block=1, norm_num_groups=4, down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(folder)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for step in (5, 10):
        save_unet(folder / f"checkpoint-{step}", step)
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch, models):
    monkeypatch.chdir(tmp_path)
    Path("real").mkdir()
    for k, image in enumerate(load_digits().images[:60]):
        Image.fromarray((image * 15).astype(np.uint8)).save(f"real/{k:03d}.png")
    shutil.copytree(models, "run")
    return tmp_path


def write_study(question, columns):
    settings = {
        "name": "given", "data": {"source": "real", "size": 8, "channels": 1},
        "outside": columns, "baseline": columns[0]["id"], "question": question,
        "blocks": 10 if question == "checkpoints" else 2, "evaluation": EVALUATION,
        "dtype": "float32", "device": "cpu",
    }  # fmt: skip
    if question == "checkpoints":
        settings["looks"] = (10,)
    Study.checked(settings, "x").save(Path("given.toml"))


def run(*words):
    return answer(["study", "given.toml", "--out", "study", *words]), StudyFolder("study")


def test_saved_states_become_columns_with_our_own_noise(here, capsys):
    columns = columns_of("unet=run/checkpoint-{step}")
    assert [column.id for column in columns] == ["unet-5", "unet-10"]
    write_study("checkpoints", [column.model_dump(mode="json") for column in columns])
    code, folder = run()
    assert code == 0, capsys.readouterr().err
    files = sorted(Path("study/drawn/unet-10/block-1").glob("*.png"))
    drawn = np.stack([np.asarray(Image.open(file)) for file in files])
    model = load_model("run/checkpoint-10")
    expected = model.sample(
        sample_seeds(0, SAMPLES), 2, batch=Study.from_toml("given.toml").evaluation.batch
    )
    assert np.array_equal(drawn, expected[..., 0])
    table = study_table(folder, "en")
    assert "Do these checkpoints differ?" in table.question
    assert [column.id for column in table.columns] == ["unet-5", "unet-10"]
    assert len(table.row("kid").cells[1].estimate.blocks) == 10
    # The same command draws nothing again, and other weights under the same name are refused.
    before = [file.stat().st_mtime_ns for file in files]
    assert run()[0] == 0
    assert [file.stat().st_mtime_ns for file in files] == before
    shutil.rmtree("run/checkpoint-10")
    save_unet(Path("run/checkpoint-10"), 11)
    capsys.readouterr()
    assert run()[0] == 2
    assert "other weights now" in capsys.readouterr().err


def test_repeated_checkpoints_have_the_rows_of_our_own_columns(here, capsys):
    """Each block with its own noise; rows of losses and features too: the model is at hand."""
    column = columns_of("unet=run/checkpoint-{seed}")[0]
    write_study("methods", [column.model_dump(mode="json")])
    code, folder = run()
    assert code == 0, capsys.readouterr().err
    for block, step in ((1, 5), (2, 10)):
        rows = folder.run("unet", block).score("scores")
        assert rows["checkpoint"] == load_model(f"run/checkpoint-{step}").state_digest()
        assert {"held-out-loss", "kid", "near-copies", "total-parameters"} <= rows["metrics"].keys()
    known = json.loads(Path("study/drawn/unet/block-2/drawn.json").read_text("utf-8"))
    assert known["asked"]["seed"] == 1
    names = sorted(file.name for file in Path("study/drawn/unet/block-2").glob("*.png"))
    assert names[0] == f"000000-seed-{1 << 20}.png"


def test_what_cannot_be_drawn_from_is_refused_in_one_sentence(here, capsys):
    def refused(*words, says):
        out = f"study-{len(list(Path().glob('study-*')))}"
        code = answer(["study", "real", "--encoder", "pixels", "--out", out, *words])
        said = capsys.readouterr().err
        assert code == 2, said
        assert says in said
        assert said.count("\n") == 1

    refused("--column", "a=run/checkpoint-5", "--size", "16", says="--size 8")
    refused("--column", "a=run/checkpoint-5", "--colour", says="--grey")
    Path("adapter").mkdir()
    Path("adapter/adapter_config.json").write_text("{}", encoding="utf-8")
    refused("--column", "a=adapter", says="an adapter without its base")
    Path("mixed/1").mkdir(parents=True)
    shutil.copytree("run/checkpoint-5", "mixed/2")
    refused("--column", "a=mixed/{seed}", says="not of one kind, but checkpoint and samples")
    refused("--column", "A b=run/checkpoint-5", says="--column A b=run/checkpoint-5: id")
    refused("--column", "a=run/checkpoint-{step}", "--column", "a-5=run/checkpoint-5", says="twice")
    shutil.copytree("run/checkpoint-5", "twin")
    same = ("--column", "a=run/checkpoint-5", "--column", "b=twin", "--question", "checkpoints")
    refused(*same, says="are the same files")
    shutil.rmtree("twin/unet")
    refused("--column", "a=twin", says="twin")
    Path("empty.safetensors").touch()
    shutil.copytree("run/checkpoint-5", "cut")
    next(Path("cut").rglob("*.safetensors")).write_bytes(b"")
    refused("--column", "a=cut", says="cut/unet")
