"""What is wrong with a folder of diffusers or with what is told of its images, as typed.

One clear sentence on stderr, exit code 2, and nothing that was there is changed.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from diffusers_folders import stable_diffusion
from PIL import Image
from test_diffusers_commands import images
from test_registry import declares, install

from kurabe.cli import answer

__all__ = ["install"]

INDEX, NETWORK = "base/model_index.json", "base/unet/config.json"
FIT = ("fit", "lora", "--base", "base", "--data", "images", "--out", "run", "--budget", "32img")
TOLD = (*FIT, "--prompt", "a plant")


@pytest.fixture(autouse=True)
def _there(tmp_path, monkeypatch):
    """A tiny Stable Diffusion folder and 20 captioned images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KURABE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("kurabe.studies.single.cores", lambda: 1)
    stable_diffusion(tmp_path / "base")
    images(tmp_path / "images", 16, 3)


def digests() -> dict[str, str]:
    places = [path for top in ("base", "images") for path in Path(top).rglob("*") if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in places}


def refused(capsys, *command: str) -> str:
    before = digests()
    capsys.readouterr()
    code = answer(list(command))
    out, error = capsys.readouterr()
    assert code == 2, (code, out, error)
    assert error.count("\n") == 1 and error.endswith(".\n") and "Traceback" not in error, error
    assert digests() == before
    assert not Path("run/run.json").exists() and not Path("drawn").exists()
    return error


def change(path: str, **changes: object) -> None:
    config = json.loads(Path(path).read_text())
    Path(path).write_text(json.dumps({**config, **changes}))


def no_index() -> None:
    Path(INDEX).unlink()


def unknown_class() -> None:
    change(INDEX, unet=["diffusers", "UNet3DConditionModel"])


def unknown_scheduler() -> None:
    change("base/scheduler/scheduler_config.json", _class_name="EDMEulerScheduler")


def half_captioned() -> None:
    rows = Path("images/metadata.jsonl").read_text().splitlines()
    Path("images/metadata.jsonl").write_text("\n".join(rows[:10]))


def unknown_columns() -> None:
    Path("images/metadata.jsonl").unlink()
    Path("images/metadata.csv").write_text("file_name,prompt\n00.png,a plant\n")


def small_images() -> None:
    for place in Path("images").glob("*.png"):
        with Image.open(place) as image:
            small = np.array(image.resize((10, 12)))
        Image.fromarray(small).save(place)


REFUSED = {
    "no model_index.json": (
        no_index, TOLD,
        "'base' is neither a shipped base (emoji-32, fashion-28) nor a base's folder, with "
        "base.json or diffusers' model_index.json; give one of these.",
    ),
    "an unknown class": (
        unknown_class, TOLD,
        "base/model_index.json: unet is a UNet3DConditionModel; Kurabe can use "
        "DiTTransformer2DModel, ",
    ),
    "an unknown scheduler": (
        unknown_scheduler, TOLD,
        "base/scheduler/scheduler_config.json: the scheduler EDMEulerScheduler is not a chain",
    ),
    "no prompt": (
        lambda: None, FIT,
        'base draws from text: say what your images show, as in --prompt "a drawing of a plant".',
    ),
    "no prompt of a study": (
        lambda: None, ("study", "images", "--base", "base", "--yes"),
        'base draws from text: say what your images show, as in --prompt "a drawing of a plant".',
    ),
    "captions for half of the images": (
        half_captioned, TOLD,
        "images: 10 of 20 images have no caption, 10.png the first of them; add them to "
        "metadata.jsonl, or take the captions away.",
    ),
    "a caption file with unknown columns": (
        unknown_columns, TOLD,
        "images/metadata.csv, line 2: it has file_name, prompt; captions stand in file_name and "
        "text.",
    ),
    "images that do not reach the base's size": (
        small_images, TOLD,
        "base draws 16×16, and 20 of 20 images are smaller than that; use a base that draws "
        "smaller images, or --size 16 to enlarge them.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_before_anything_is_computed(name, capsys):
    spoil, command, said = REFUSED[name]
    spoil()
    assert refused(capsys, *command).startswith(said)


SHAPE = "base/unet: the weights' 'down_blocks.1.attentions.0.norm.weight' is 16, where its "


def test_weights_of_another_shape_are_no_base_to_draw_from(capsys):
    change(NETWORK, block_out_channels=[8, 32])
    error = refused(capsys, "sample", "base", "--out", "drawn", "-n", "1")
    assert error == SHAPE + "configuration asks for 32.\n"


@pytest.mark.slow
def test_weights_of_another_shape_are_no_base_to_train(capsys):
    change(NETWORK, block_out_channels=[8, 32])
    assert refused(capsys, *TOLD) == SHAPE + "configuration asks for 32.\n"


def test_targets_that_match_no_layer(capsys):
    """Found where the column's speed is measured, in another process: before the run begins."""
    error = refused(capsys, *TOLD, "--set", "choices.adaptation.targets=no_such_layer")
    assert error.startswith(
        "targets = 'no_such_layer' matches no linear layer of this network; it has network."
    )


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("1 / 0", "The package outside-own could not be loaded (ZeroDivisionError: division by"),
        (declares("terms", "denoising"), "The term 'denoising' is named twice, by kurabe and outs"),
    ],
)
def test_a_plug_in_that_cannot_be_used_is_said_beside_what_goes_on(source, said, install, capsys):
    install("outside-own", source)
    assert answer(["methods", "lora", "--lang", "en"]) == 0
    out, error = capsys.readouterr()
    assert "LoRA" in out and error.startswith(said)
    assert error.count("\n") == 1 and error.endswith(".\n")
    # And where what it would have added is asked for.
    assert answer(["export", "latest", "--out", "o", "--to", "own"]) == 2
    assert capsys.readouterr().err.startswith("There is no export 'own'")
