"""What a self-supervised run may be given wrong: one sentence each, code 2, and nothing begun; or
code 1 where it shows in training alone, with the last good state kept."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kurabe.cli import answer

SMALL = {
    "network.patch": 2, "network.width": 16, "network.depth": 3, "network.heads": 2,
    "evaluation.encoder": "pixels", "evaluation.samples": 8, "evaluation.evaluations": 1,
    "evaluation.loss_images": 4, "evaluation.log_snrs": "[4]", "evaluation.grids": "[1]",
    "evaluation.place": "[0.5, 4, 1]", "evaluation.search_images": 20, "evaluation.views": 1,
    "optimiser.batch": 16, "optimiser.held_out_share": 1,
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rng = np.random.default_rng(0)
    for k in range(30):
        kind = tmp_path / "pictures" / ("bright", "dark")[k % 2]
        kind.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(120 * (k % 2), 120 * (k % 2) + 120, (8, 8), np.uint8)
        Image.fromarray(pixels).save(kind / f"{k}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KURABE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def fit(method: str, data: str = "pictures", **settings: object) -> int:
    given = {**SMALL, **{key.replace("__", "."): value for key, value in settings.items()}}
    words = [word for key, value in given.items() for word in ("--set", f"{key}={value}")]
    usual = ["--size", "8", "--device", "cpu", "--budget", "64img", "--out", "run"]
    return answer(["fit", method, "--data", data, *usual, *words])


def objective(term: str) -> str:
    return '[{ term = "denoising" }, { ' + term + " }]"


REFUSED = {
    "a size that the patch does not divide": (
        "hog-alignment", {"network__patch": 3}, "is not a multiple of the patch 3"),
    "a comparison batch of one": (
        "contrastive-diffusion",
        {"choices__objective": objective('term = "contrastive", comparison_batch = 1')},
        "comparison_batch"),
    "a layer twice": (
        "layersync",
        {"choices__objective": objective('term = "layer-sync", shallow = 0.5, deep = 0.6')},
        "move them apart"),
    "a depth beyond the last layer": (
        "hog-alignment",
        {"choices__objective": objective('term = "transform-alignment", depth = 1.5')}, "depth"),
    "a transform that there is not": (
        "hog-alignment",
        {"choices__objective": objective('term = "transform-alignment", transform = "sift"')},
        "transform"),
    "an end before the beginning": (
        "layersync",
        {"choices__objective": objective('term = "layer-sync", since = 0.5, until = 0.2')},
        "which is never"),
    "a weight of no size": (
        "layersync", {"choices__objective": objective('term = "layer-sync", weight = 0')},
        "weight"),
    "an encoder that cannot be had offline": (
        "repa",
        {"choices__objective": objective(
            'term = "encoder-alignment", encoder = "transformers:facebook/dinov2-small"')},
        "is neither a folder nor in the hub's local cache"),
    "two noise levels behind a closed form": (
        "self-flow", {"network__precondition": "covariance"}, "with network.precondition = none"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_in_one_sentence(name, place, capsys) -> None:
    method, settings, says = REFUSED[name]
    code = fit(method, **settings)
    told = capsys.readouterr().err
    assert code == 2, told
    assert says in told and "Traceback" not in told
    assert len(told.strip().splitlines()) == 1


@pytest.mark.slow
def test_a_weight_under_which_the_loss_diverges_ends_the_run_and_says_which_term(
    place, capsys
) -> None:
    term = 'term = "transform-alignment", until = 1, weight = 1e38'
    code = fit(
        "hog-alignment", choices__objective=objective(term), optimiser__lr=1e6, optimiser__clip=1e30
    )
    told = capsys.readouterr().err
    assert code == 1, told
    assert "became" in told and "the last good state is kept" in told
    assert "Traceback" not in told and "A lower learning rate" in told


@pytest.mark.slow
def test_fewer_images_than_a_batch_and_one_class_train_and_have_no_label_rows(place) -> None:
    from kurabe.records import RunFolder

    for path in (place / "pictures" / "dark").iterdir():
        path.rename(place / "pictures" / "bright" / path.name)
    (place / "pictures" / "dark").rmdir()
    assert fit("hog-alignment", optimiser__batch=32) == 0
    metrics = RunFolder(place / "run").score("scores")["metrics"]
    assert "held-out-loss" in metrics and "linear-probe" not in metrics


def test_nothing_to_label_by_and_a_table_of_no_kind_are_refused(place, capsys) -> None:
    few = place / "few.csv"
    few.write_text("file,label\n0.png,bright\n2.png,bright\n")
    words = ["--data", "pictures", "--device", "cpu"]
    for more, says in (
        (
            ["label", "fashion-28", "--labels", "few.csv", "--out", "told.csv"],
            "labels of bright",
        ),
        (["label", "fashion-28", "--labels", "none.csv", "--out", "told.csv"], "none.csv"),
        (["label", "fashion-28", "--out", "told.xlsx"], "end it in .csv or .html"),
        (["nearest", "fashion-28", "--out", "near"], "end it in .csv or .html"),
    ):
        assert answer([*more, *words]) == 2
        told = capsys.readouterr().err
        assert says in told and len(told.strip().splitlines()) == 1
        assert not list(place.glob("told.*")) and not list(place.glob("near*"))
