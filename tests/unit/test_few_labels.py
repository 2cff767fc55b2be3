"""Few labels in, labels out, and what lies near: against scikit-learn and by brute force."""

import csv
import html
import json
import re

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from kurabe.commands.images import label, nearest
from kurabe.data.images import ImageSet
from kurabe.errors import UserError
from kurabe.methods import choices_of, find
from kurabe.recipe import Recipe
from kurabe.runs.labelling import label_images
from kurabe.runs.looking import near
from kurabe.training.model import start_model


@pytest.fixture(scope="module")
def model():
    recipe = Recipe.checked(
        {
            "method": "ddpm",
            "choices": choices_of(find("ddpm")).model_dump(),
            "data": {"source": "digits"},
            "budget": {"images": 1},
            "network": {"patch": 2, "width": 32, "depth": 2, "heads": 2, "decoder": 1},
        },
        "test",
    )
    return start_model(recipe, 8, 1)


def some_digits(given: int) -> ImageSet:
    """Zeros and ones, `given` of each labelled, the others not."""
    digits = load_digits()
    rows = np.flatnonzero(digits.target < 2)[:60]
    pixels = (digits.images[rows, :, :, None] * 15.9).astype(np.uint8)
    labels = digits.target[rows].astype(np.int64)
    for k in range(2):
        labels[np.flatnonzero(labels == k)[given:]] = -1
    ids = tuple(f"{k}.png" for k in range(60))
    return ImageSet("few", pixels, ids, np.arange(60), labels, ("zero", "one"))


@pytest.mark.parametrize("given", [1, 5])
def test_probabilities_are_those_of_scikit_learn_at_the_chosen_place(model, given) -> None:
    images = some_digits(given)
    found = label_images(model, images, 1)
    wanted = running_features(model, images, found.place)
    x = (wanted - wanted.mean(0)) / np.where(wanted.std(0) > 0, wanted.std(0), 1)
    known = images.labels >= 0
    fitted = LogisticRegression(C=1.0, tol=1e-9, max_iter=10_000).fit(
        x[known], images.labels[known]
    )
    np.testing.assert_allclose(found.probabilities, fitted.predict_proba(x), atol=1e-4)
    assert found.classes == ("zero", "one")
    true = load_digits().target[np.flatnonzero(load_digits().target < 2)[:60]]
    # The network is untrained.
    assert (found.guess == true).mean() > {1: 0.6, 5: 0.9}[given]
    assert (found.guess[known] == images.labels[known]).all()
    sure = found.probabilities.max(1)[found.order]
    assert (np.diff(sure) >= 0).all() and len(found.order) == 60 - 2 * given
    if given == 1:
        # Nothing to leave out, so nothing chooses.
        assert (found.place.log_snr, found.place.grid) == (2.5, 2)


def running_features(model, images, place) -> np.ndarray:
    from kurabe.evaluation.model_features import Pictures, extract

    cells = extract(
        model, Pictures(images.pixels, np.arange(len(images))), place.log_snr, (place.layer,),
        (place.grid,), 1,
    )  # fmt: skip
    return cells[place.layer, place.grid].astype(np.float64)


def test_labels_of_one_class_tell_nothing_apart(model) -> None:
    images = some_digits(2)
    images.labels[images.labels == 1] = -1
    with pytest.raises(UserError, match=r"has labels of zero; give --labels a CSV"):
        label_images(model, images)


def test_neighbours_are_those_of_all_pairs_and_copies_are_found() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 16, 16, 1), dtype=np.uint8)
    pixels[7] = pixels[2]
    ids = tuple(f"{k}.png" for k in range(9))
    images = ImageSet("few", pixels, ids, np.arange(9))
    vectors = pixels.reshape(9, -1).astype(np.float32)
    found = near(images, vectors, 3)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = unit @ unit.T
    for k in range(9):
        others = [j for j in np.argsort(-cosine[k], kind="stable") if j != k][:3]
        np.testing.assert_allclose(found.cosines[k], cosine[k, others], atol=1e-6)
        assert k not in found.neighbours[k]
    assert found.neighbours[2, 0] == 7 and found.neighbours[7, 0] == 2
    assert found.alike == ((2, 7),)
    assert near(images, vectors, 100).neighbours.shape == (9, 8)
    with pytest.raises(UserError, match="holds one image"):
        near(ImageSet("one", pixels[:1], ids[:1], np.arange(1)), vectors[:1], 3)


def folder_of(tmp_path, names):
    folder = tmp_path / "pictures"
    folder.mkdir()
    digits = load_digits()
    rows = np.flatnonzero(digits.target < 2)[: len(names)]
    for name, row in zip(names, rows, strict=True):
        Image.fromarray((digits.images[row] * 15.9).astype(np.uint8)).save(folder / name)
    return folder, digits.target[rows]


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_the_commands_write_tables_and_pages_with_odd_names_kept_whole(
    model, tmp_path, monkeypatch, capsys, lang
) -> None:
    monkeypatch.setenv("KURABE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("kurabe.training.load_model", lambda *_: model)
    odd = ['a "b",c.png', "<b>&.png", "<script>.png", "=1+1.png", "絵.png"]
    names = odd + [f"{k}.png" for k in range(15)]
    folder, target = folder_of(tmp_path, names)
    (folder / "torn.png").write_bytes(b"no image")
    rows = [(name, ("zero", "one")[t]) for name, t in zip(names, target, strict=True)]
    labels = tmp_path / "few.csv"
    with labels.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("file", "label"), *rows[:8]])
    out = tmp_path / "labelled.csv"
    label("emoji-32", str(folder), out, labels, 1, "cpu", tmp_path, lang)
    with out.open(newline="", encoding="utf-8") as file:
        told = list(csv.DictReader(file))
    assert sorted(row["file"] for row in told) == sorted(names)
    for row in told:
        total = float(row["p(zero)"]) + float(row["p(one)"])
        assert total == pytest.approx(1, abs=2e-6)
        assert float(row["probability"]) == float(row[f"p({row['label']})"])
    given = {row["file"]: row["label"] for row in told if row["given"] == "yes"}
    assert given == dict(rows[:8])
    page = out.with_suffix(".html").read_text(encoding="utf-8")
    assert page.count("<script") == 2 and "<b>" not in page
    known = re.search(r'id="known">(.*?)</script>', page, re.S)
    assert known is not None and dict(json.loads(html.unescape(known[1]))) == dict(rows[:8])
    assert page.count("<select") == 12
    said = capsys.readouterr().out
    assert "torn.png" in said

    seen = tmp_path / "near.html"
    nearest("emoji-32", str(folder), seen, 2, 1, "cpu", tmp_path, lang)
    with seen.with_suffix(".csv").open(newline="", encoding="utf-8") as file:
        pairs = list(csv.DictReader(file))
    assert len(pairs) == 2 * len(names) and {row["file"] for row in pairs} == set(names)
    shown = seen.read_text(encoding="utf-8")
    assert shown.count('class="own"') == len(names) and "<b>" not in shown
    assert html.escape('a "b",c.png').replace("&quot;", "&#34;") in shown
