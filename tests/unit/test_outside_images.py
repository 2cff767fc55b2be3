"""A column from a folder of images: start to table, copies, pairing, and what is refused.

The images are scikit-learn's handwritten digits, enlarged to 32 × 32; what a model elsewhere drew
is made by tests/outside_sources, which imports nothing of Kurabe.
"""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin
from sklearn.datasets import load_digits
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import NearestNeighbors

from kurabe.cli import answer
from kurabe.comparison import study_table
from kurabe.outside import prompts
from kurabe.outside.folders import look
from kurabe.outside_settings import columns_of
from kurabe.records import Ledger, StudyFolder
from kurabe.records.samples import read_grid
from kurabe.runs.images import load_images, split_images
from kurabe.studies.study import Study

SOURCES = Path(__file__).parents[1] / "outside_sources"
TRAINING, SAMPLES = 300, 200


@pytest.fixture(scope="module")
def digits():
    rng = np.random.default_rng(0)
    images = load_digits().images[rng.permutation(1797)]
    return np.kron(images * (255 / 16), np.ones((4, 4))).astype(np.uint8)


@pytest.fixture
def here(tmp_path, monkeypatch, digits):
    monkeypatch.chdir(tmp_path)
    write(Path("real"), digits[:TRAINING])
    return tmp_path


def write(folder, images, ending="png", **how):
    folder.mkdir(parents=True)
    for k, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{k:05d}.{ending}", **how)


def study(*words, out="study"):
    code = answer(["study", "real", "--encoder", "pixels", "--grey", "--out", out, *words])
    return code, StudyFolder(out)


def scores(folder, column, block=1):
    return folder.run(column, block).score("scores")["metrics"]


def jpeg(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=80)
    return np.asarray(Image.open(buffer))


def split_of(source="real", seed=0):
    settings = {"name": "x", "data": {"source": source, "size": 32, "channels": 1},
                "outside": [{"id": "a", "samples": ["x"]}], "baseline": "a"}  # fmt: skip
    data = Study.checked(settings, "x").data
    images = load_images(data)
    return images, split_images(images, data, seed)


def test_planted_copies_are_found_and_named_and_held_out_images_raise_no_alarm(here, digits):
    held = digits[TRAINING:][:SAMPLES].copy()
    write(Path("held"), held)
    images, split = split_of()
    rng = np.random.default_rng(1)
    places = np.sort(rng.choice(SAMPLES, 5, replace=False)).tolist()
    chosen = rng.choice(split.train, 5, replace=False).tolist()
    for place, row in zip(places, chosen, strict=True):
        held[place] = jpeg(np.roll(images.pixels[row, :, :, 0], (2, -1), (0, 1)))
    write(Path("drawn"), held)
    code, folder = study("--column", "drawn=drawn", "--column", "held=held")
    assert code == 0
    pairs = scores(folder, "drawn")["near-copies"]["detail"]["pairs"]
    # Worst first: the five, each with its own original.
    assert {pair["sample"]: pair["training"] for pair in pairs[:5]} == {
        place: images.ids[row] for place, row in zip(places, chosen, strict=True)
    }
    assert [pair["file"] for pair in pairs[:5]] == [f"{p['sample']:05d}.png" for p in pairs[:5]]
    assert max(pair["ratio"] for pair in pairs[:5]) < 1 / 3 < pairs[5]["ratio"]
    grid = read_grid(folder.run("drawn", 1).sample_grids()[-1])
    assert set(grid.seeds[:5]) == set(places)
    table = study_table(folder, "en")
    (said,) = (sentence for sentence in table.sentences if sentence.key == "copied")
    assert said.text == "training images found again: 5 of 200 (drawn)"
    assert "held" not in said.detail
    # Of the other column one run cannot tell; of this one it did.
    (unsure,) = (sentence for sentence in table.sentences if sentence.key == "copies")
    assert "drawn" not in unsure.text + unsure.detail
    assert "held" in unsure.text
    # One run: nothing is marked, and what would settle it is said.
    images_said = next(sentence for sentence in table.sentences if sentence.key == "images")
    assert (images_said.mark, images_said.command) == ("?", None)
    assert "give each column the runs of 5 seeds" in images_said.detail
    assert {row.mark for row in table.group("measured")} == {"?"}


def test_samples_of_diffusers_come_to_a_table_with_torchmetrics_numbers(here, digits):
    """KID of pixels by torchmetrics, precision by scikit-learn's neighbours, on the same files."""
    for seed in (0, 1):
        script = [SOURCES / "ddpm_images.py", "real", f"runs/{seed}/samples", "45", seed, "20"]
        subprocess.run([sys.executable, *map(str, script)], check=True)
    words = ("--column", "ddpm=runs/{seed}/samples", "--colour")
    code, folder = study(*words)
    assert code == 0
    images, split = split_of()
    real = flat(images.pixels[split.test].repeat(3, 3))
    files = sorted(Path("runs/0/samples").glob("*.png"))
    drawn = flat(np.stack([np.asarray(Image.open(file)) for file in files]))
    found = scores(folder, "ddpm", 1)
    expected = kernel_distance(torch.from_numpy(drawn), torch.from_numpy(real))
    assert found["kid"]["value"] == pytest.approx(expected, rel=1e-5)
    reach = NearestNeighbors(n_neighbors=4).fit(real).kneighbors(real)[0][:, 3]
    inside = (pairwise_distances(drawn, real) <= reach).any(1).mean()
    assert found["precision"]["value"] == pytest.approx(inside, abs=1e-5)
    assert found["precision"]["n"] == 45
    assert not {"held-out-loss", "loss-gap", "seconds", "own-view-recall"} & found.keys()
    table = study_table(folder, "en")
    assert [column.method for column in table.columns] == [None]
    assert "Do these methods differ?" in table.question
    # The same command again measures nothing and opens no test image.
    before = folder.run("ddpm", 1).score("scores")
    assert study(*words)[0] == 0
    assert folder.run("ddpm", 1).score("scores") == before
    assert len(Ledger(folder.run("ddpm", 1).path / "test-openings.jsonl").entries()) == 1


def flat(pixels):
    return pixels.reshape(len(pixels), -1).astype(np.float64) / 255


def kernel_distance(fake, real):
    """torchmetrics' polynomial MMD with its defaults, of all images at once; it takes as many."""
    assert len(fake) == len(real)
    from torchmetrics.image.kid import poly_mmd

    return float(poly_mmd(real, fake, degree=3, gamma=None, coef=1.0))


def test_checkpoints_are_asked_over_images_and_worded_so(here, digits):
    write(Path("one"), digits[TRAINING:][:40])
    noisy = digits[TRAINING + 40 :][:40].astype(float)
    noisy += np.random.default_rng(0).normal(0, 120, noisy.shape)
    write(Path("two"), noisy.clip(0, 255).astype(np.uint8))
    words = ("--column", "one=one", "--column", "two=two", "--question", "checkpoints")
    code, folder = study(*words)
    assert code == 0
    for lang, says in (("en", "One run each"), ("ja", "各 1 実行")):
        table = study_table(folder, lang)
        assert says in table.question
        assert len(table.row("kid").cells[0].estimate.blocks) == 10
    assert any("Blocks are not runs" in text for text in study_table(folder, "en").footnotes)
    row = study_table(folder, "en").row("feature-distance")
    assert row.mark == "≠"


def test_a_study_file_with_outside_columns_is_what_was_written(here, digits):
    write(Path("a/1"), digits[TRAINING:][:20])
    write(Path("a/10"), digits[TRAINING + 20 :][:20])
    write(Path("a/2"), digits[TRAINING + 40 :][:20])
    (column,) = columns_of("lora=a/{seed}")
    assert [Path(place).name for place in column.samples] == ["1", "2", "10"]
    assert study("--column", "lora=a/{seed}", "--dry-run")[0] == 0
    text = Path("study/study.toml").read_text("utf-8")
    assert "[budget]" not in text
    again = Study.from_toml(Path("study/study.toml"))
    assert again.outside == (column,)
    assert again == Study.checked(again.model_dump(mode="json"), "x")


def png_with(path, **texts):
    notes = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        notes.add_text(key, text)
    Image.new("L", (8, 8)).save(path, pnginfo=notes)


GRAPH = {
    "3": {"class_type": "KSampler", "inputs": {"seed": 7, "positive": ["6", 0]}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a fern"}},
}


@pytest.mark.parametrize(
    ("texts", "asked"),
    [
        ({"parameters": "a fern, ink\nNegative prompt: blur\nSteps: 20, Sampler: Euler, Seed: 5, "
                        "Size: 512x512"}, ("a fern, ink", 5)),
        ({"parameters": "a fern\nSteps: 20, Seed: 9"}, ("a fern", 9)),
        ({"prompt": json.dumps(GRAPH)}, ("a fern", 7)),
        ({"invokeai_metadata": '{"positive_prompt": "a fern", "seed": 3}'}, ("a fern", 3)),
        ({"Dream": '"a fern" -s 50 -S 12 -W 512'}, ("a fern", 12)),
    ],
)  # fmt: skip
def test_what_an_image_was_drawn_for_is_read_from_its_png(tmp_path, texts, asked):
    png_with(tmp_path / "0.png", **texts)
    assert look(str(tmp_path)).asked == (asked,)
    assert prompts.of_png({"Comment": "x"}) is None


def test_prompts_pair_images_whatever_their_files_are_called(tmp_path):
    for name, prompt in (("b", "one"), ("a", "two")):
        png_with(tmp_path / f"{name}.png", parameters=f"{prompt}\nSteps: 1, Seed: 1")
    assert look(str(tmp_path)).order.tolist() == [1, 0]


def beside(folder, texts):
    for k, text in enumerate(texts):
        (folder / f"{k:05d}.txt").write_text(text, encoding="utf-8")


def refused(capsys, *words, says):
    out = f"study-{len(list(Path().glob('study-*')))}"
    code = answer(["study", "real", "--encoder", "pixels", "--grey", "--out", out, *words])
    said = capsys.readouterr().err
    assert code == 2
    assert says in said
    assert said.count("\n") == 1


def test_bad_input_is_refused_in_one_sentence(here, digits, capsys):
    fresh = digits[TRAINING:]
    write(Path("few/1"), fresh[:20])
    write(Path("few/2"), fresh[20:39])
    refused(capsys, "--column", "a=few/{seed}", says="depend on the number")
    write(Path("small"), fresh[:20, ::2, ::2])
    refused(capsys, "--column", "a=small", "--size", "32", says="--size 16")
    write(Path("oblong"), fresh[:20, :, :16])
    refused(capsys, "--column", "a=oblong", "--size", "16", says="of another shape")
    write(Path("mixed"), fresh[:20])
    Image.new("L", (64, 64)).save("mixed/grid.png")
    refused(capsys, "--column", "a=mixed", says="one size")
    Path("mixed/grid.png").write_bytes(b"<html>")
    refused(capsys, "--column", "a=mixed", says="grid.png is not an image")
    write(Path("twin"), fresh[:20])
    refused(capsys, "--column", "a=few/1", "--column", "b=twin", says="are the same files")
    write(Path("itself"), digits[:20])
    refused(capsys, "--column", "a=itself", says="not what a model drew")
    refused(capsys, "--column", "a=nowhere/{seed}", says="Nothing fits")
    refused(capsys, "--column", "a", says="write it like")
    write(Path("p"), fresh[40:60])
    write(Path("q"), fresh[60:80])
    beside(Path("p"), ["a fern"] * 20)
    beside(Path("q"), ["a rose"] * 20)
    refused(capsys, "--column", "a=p", "--column", "b=q", says="different prompts")


def test_what_was_measured_is_not_replaced(here, digits, capsys):
    write(Path("a"), digits[TRAINING:][:20])
    assert study("--column", "a=a")[0] == 0
    Image.fromarray(digits[-1]).save("a/00003.png")
    capsys.readouterr()
    code, _ = study("--column", "a=a")
    assert code == 2
    assert "held something else" in capsys.readouterr().err
