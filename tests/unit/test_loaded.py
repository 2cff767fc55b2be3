"""What a Python user gives to embed: the same images give the same features in every form."""

import doctest

import numpy as np
import pytest
import torch
from PIL import Image

import kurabe
from kurabe import api, data
from kurabe.errors import UserError
from kurabe.runs import loaded
from kurabe.runs.pictures import as_pixels


@pytest.fixture(scope="module")
def base():
    return kurabe.load("emoji-32")


@pytest.fixture(scope="module")
def drawn():
    return np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)


def forms(drawn, folder):
    files = [folder / f"{k}.png" for k in range(3)]
    for path, image in zip(files, drawn, strict=True):
        Image.fromarray(image).save(path)
    tensor = torch.from_numpy(drawn).permute(0, 3, 1, 2)
    return {
        "uint8": drawn,
        "int64": drawn.astype(np.int64),
        "floats": drawn / 255,
        "list of arrays": list(drawn),
        "PIL": [Image.fromarray(image) for image in drawn],
        "paths": files,
        "texts": [str(path) for path in files],
        "mixed": [drawn[0], Image.fromarray(drawn[1]), str(files[2])],
        "uint8 tensor": tensor,
        "float tensor": tensor.float() / 255,
        "list of tensors": list(tensor),
        "set": data.ImageSet("s", drawn, ("a", "b", "c"), np.arange(3)),
        "generator": (image for image in drawn),
    }


def test_every_form_of_the_same_images_is_the_same_pixels(drawn, tmp_path):
    for name, given in forms(drawn, tmp_path).items():
        assert np.array_equal(as_pixels(given, 32, 3), drawn), name


def test_one_image_other_sizes_and_colours(drawn):
    assert np.array_equal(as_pixels(drawn[0], 32, 3), drawn[:1])
    assert as_pixels(drawn[0, ..., 0], 28, 1).shape == (1, 28, 28, 1)
    assert as_pixels(np.zeros((5, 40, 64, 3), np.uint8), 32, 3).shape == (5, 32, 32, 3)
    clear = np.zeros((1, 32, 32, 4), np.uint8)
    assert (as_pixels(clear, 32, 3) == 255).all()
    wide = np.zeros((32, 64, 3), np.uint8)
    wide[:, 16:48] = 200
    assert (as_pixels(wide, 32, 3) == 200).all()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (3, "A int is no image"),
        (None, "A NoneType is no image"),
        ({}, "A dict is no image"),
        (b"x", "A bytes is no image"),
        ([], "no image to embed"),
        (np.zeros((2, 2, 2, 2, 3)), "shape"),
        (np.full((1, 4, 4, 3), -1.0), "from 0 to 1"),
        (np.full((1, 4, 4, 3), 255.0), "x / 255"),
        (np.full((1, 4, 4, 3), np.nan), "from 0 to 1"),
        (np.full((1, 4, 4, 3), 300), "0 to 255"),
        (torch.zeros(4), "no images"),
        ("nowhere.png", "nowhere.png"),
    ],
)
def test_what_is_no_image_is_said(given, says):
    with pytest.raises(UserError, match=says):
        as_pixels(given, 32, 3)


def test_what_a_model_draws_it_embeds_and_it_prints_in_a_line(base):
    drawn = base.sample(2)
    vectors = base.embed(drawn)
    assert vectors.shape[0] == 2 and vectors.dtype == np.float32
    assert np.array_equal(vectors, base.embed([Image.fromarray(image) for image in drawn]))
    assert repr(base).startswith("<kurabe emoji-32: 32×32, colour, parameters ")
    assert len(repr(base)) < 120 and len(repr(base.model)) < 120
    card = base._repr_html_()
    assert "<b>emoji-32</b>" in card and "Linear" not in card


@pytest.mark.parametrize("module", [api, loaded])
def test_the_examples_of_docstrings_run(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    ran = doctest.testmod(module)
    assert ran.attempted and not ran.failed
