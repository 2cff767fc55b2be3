"""Folders of plain diffusers through the commands: fit, sample, embed and export, as typed."""

import json
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from diffusers_folders import SORTS, Sort, drawn, drawn_by_diffusers, stable_diffusion
from PIL import Image
from pyarrow import parquet

from kurabe.cli import answer
from kurabe.records import RunFolder, StudyFolder
from kurabe.training import load_model

ZERO_TERMINAL = {
    "prediction_type": "v_prediction", "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing", "steps_offset": 0,
}  # fmt: skip
# Of Stable Diffusion three, by what the network predicts.
V = {"prediction_type": "v_prediction"}
BASES = {
    **SORTS,
    "UNet2DConditionModel, v": Sort(partial(stable_diffusion, **V), 16, 3, "a plant"),
    "UNet2DConditionModel, zero terminal SNR": Sort(
        partial(stable_diffusion, **ZERO_TERMINAL), 16, 3, "a plant"
    ),
}
# One in pixels, one on a chain of noise and one on a flow, by either method; the rest is slow.
QUICK = {
    ("UNet2DModel", "full-fine-tuning"),
    ("UNet2DConditionModel, zero terminal SNR", "lora"),
    ("SD3Transformer2DModel", "full-fine-tuning"),
}
CASES = [
    pytest.param(base, method, marks=() if (base, method) in QUICK else pytest.mark.slow)
    for base in BASES
    for method in ("full-fine-tuning", "lora")
]
SMALL = (
    "evaluation.encoder=pixels", "evaluation.samples=8", "evaluation.evaluations=4",
    "evaluation.real_images=16", "evaluation.loss_images=8", "evaluation.log_snrs=[4]",
    "evaluation.grids=[1]", "evaluation.place=[0.5,4,1]", "evaluation.search_images=20",
    "optimiser.batch=8", "optimiser.lr=0.01", "optimiser.held_out_share=1.0",
)  # fmt: skip
MEASURED = (
    "feature-distance", "kid", "diversity", "held-out-loss", "near-copies", "own-view-recall",
    "rankme", "seconds", "trainable-parameters", "stored-bytes",
)  # fmt: skip


def images(folder: Path, size: int, channels: int, count: int = 20) -> Path:
    """Images of cells of 4×4 colours, with a caption each."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        cells = Image.fromarray(rng.integers(0, 256, (4, 4, channels), np.uint8).squeeze())
        cells.resize((size, size), Image.Resampling.NEAREST).save(folder / f"{number:02}.png")
    rows = [
        {"file_name": f"{number:02}.png", "text": ("a plant", "a stone")[number % 2]}
        for number in range(count)
    ]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.mark.parametrize(("name", "method"), CASES)
def test_a_folder_trains_draws_embeds_is_measured_and_exported(
    name, method, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("KURABE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    # Networks this small are slower on two threads than on one.
    monkeypatch.setattr("kurabe.studies.single.cores", lambda: 1)
    write, size, channels, text = BASES[name]
    base = write(tmp_path / "base")
    images(tmp_path / "images", size, channels)
    prompt = () if text is None else ("--prompt", text)
    small = [word for setting in SMALL for word in ("--set", setting)]
    command = ["fit", method, "--base", "base", "--data", "images", "--out", "run", *prompt]
    assert answer([*command, "--budget", "32img", *small]) == 0, capsys.readouterr().err

    run = RunFolder(tmp_path / "run")
    assert (run.info["status"], run.info["images_seen"]) == ("finished", 32)
    rows = {key: of["value"] for key, of in run.score("scores")["metrics"].items()}
    assert all(value is None or math.isfinite(value) for value in rows.values()), rows
    assert None not in [rows[key] for key in MEASURED], rows

    assert answer(["sample", "run", "--out", "drawn", "-n", "2", "--steps", "4"]) == 0
    shapes = [np.array(Image.open(file)).shape for file in sorted(Path("drawn").iterdir())]
    assert shapes == [(size, size, channels) if channels == 3 else (size, size)] * 2
    assert answer(["embed", "run", "--data", "images", "--out", "e.parquet", "--draws", "1"]) == 0
    vectors = np.stack(parquet.read_table("e.parquet")["embedding"].to_numpy())
    assert len(vectors) == 20 and np.isfinite(vectors).all() and vectors.std(0).min() > 0

    assert answer(["export", "run", "--out", "exported"]) == 0, capsys.readouterr().err
    own = drawn(load_model(tmp_path / "run"))
    theirs = drawn_by_diffusers(tmp_path / "exported", text or "")
    assert np.abs(own - theirs).max() < 1e-4
    # Training has changed what is drawn.
    assert np.abs(drawn_by_diffusers(base, text or "") - theirs).max() > 1e-3


@pytest.mark.slow
def test_a_study_of_captioned_images_goes_from_start_to_table(tmp_path, monkeypatch, capsys):
    """Columns lora, full-fine-tuning and base in three blocks, on 20 images, as typed."""
    monkeypatch.setenv("KURABE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    stable_diffusion(tmp_path / "base")
    images(tmp_path / "images", 16, 3)
    columns = ("lora", "full-fine-tuning", "base")
    command = (
        "study", "images", "--base", "base", "--prompt", "a plant", "--columns", ",".join(columns),
        "--seeds", "3", "--budget", "64img", "--encoder", "pixels", "--out", "study", "--yes",
    )  # fmt: skip
    assert answer([*command, "--lang", "en"]) == 0, capsys.readouterr().err

    study = StudyFolder(tmp_path / "study")
    runs = {(column, block): study.run(column, block) for column in columns for block in (1, 2, 3)}
    assert {run.info["status"] for run in runs.values()} == {"finished"}
    assert {run.info["images_seen"] for (of, _), run in runs.items() if of != "base"} == {64}
    # What each image shows was told, the same to all.
    assert len({run.info["captions_digest"] for run in runs.values()}) == 1
    # Each run has a row's value of its own, and training has moved it away from the base's.
    loss = {
        key: run.score("scores")["metrics"]["held-out-loss"]["value"] for key, run in runs.items()
    }
    assert np.isfinite(list(loss.values())).all()
    assert all(loss[of, k] != loss["base", k] for of in columns[:2] for k in (1, 2, 3))
    capsys.readouterr()
    assert answer(["compare", "--study", "study", "--format", "json", "--lang", "en"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert {column["id"] for column in table["columns"]} == set(columns)
    assert (study.path / "index.html").is_file() and study.table_path.is_file()
