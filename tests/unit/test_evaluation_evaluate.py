"""A whole evaluation of small real networks: what is there, what it shares, what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from test_evaluation_features import SETTINGS, digits, small_model

from kurabe.comparison.metrics import METRICS
from kurabe.data import split
from kurabe.evaluation import Samples, SourceDomain, draw_samples, evaluate, sample_seeds
from kurabe.evaluation.distances import feature_distance, kid
from kurabe.evaluation.subsets import drawn
from kurabe.randomness import generator

LABEL_ROWS = {"knn", "linear-probe", "few-shot-1", "few-shot-5", "few-shot-10"}
INFO = {"seconds": 12.0, "images_seen": 2400, "peak_memory": 10**8, "flops_per_image": 10**7}


@pytest.fixture(autouse=True, scope="module")
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KURABE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def images():
    return digits(400)


@pytest.fixture(scope="module")
def parts(images):
    return split(images, 0)


@pytest.fixture(scope="module")
def scores(images, parts):
    other = digits(500)
    source = SourceDomain(other.subset(np.arange(400, 500)), np.arange(100))
    return evaluate(
        small_model(), images, parts, SETTINGS,
        seed=3, base=small_model(1), untrained=small_model(2), source=source, info=INFO,
    )  # fmt: skip


def test_every_declared_row_is_there_and_finite(scores):
    rows = scores["metrics"]
    assert set(rows) == set(METRICS)
    missing = {row for row, entry in rows.items() if entry["value"] is None}
    # 40 samples are too few for any Fréchet distance.
    assert missing == {"fd"} and "PCA-64" in rows["fd"]["detail"]["name"]
    assert all(np.isfinite(rows[row]["value"]) for row in set(rows) - missing)


def test_kid_row_and_its_references_are_kid_of_these_images(scores, images, parts):
    def flat(pixels):
        return pixels.reshape(len(pixels), -1).astype(np.float32) / 255

    row = scores["metrics"]["kid"]
    drawn_images = draw_samples(small_model(), SETTINGS, 3).pixels
    real = flat(images.pixels[parts.test])
    assert row["value"] == pytest.approx(kid(flat(drawn_images), real), abs=1e-9)
    floor = kid(flat(images.pixels[parts.train]), real)
    assert row["references"]["floor"] == pytest.approx(floor, abs=1e-9)
    base = kid(flat(draw_samples(small_model(1), SETTINGS, 3).pixels), real)
    assert row["references"]["base"] == pytest.approx(base, abs=1e-9)
    # What separates two draws of one distribution is chance alone.
    assert abs(floor) < 4 * row["detail"]["floor_se"]
    assert row["value"] > 10 * abs(floor)


def test_the_feature_distance_stands_beside_blank_pages_noise_and_grain(scores, images, parts):
    def flat(pixels):
        return pixels.reshape(len(pixels), -1).astype(np.float32) / 255

    row = scores["metrics"]["feature-distance"]
    real, train = (flat(images.pixels[part]) for part in (parts.test, parts.train))
    drawn_images = draw_samples(small_model(), SETTINGS, 3).pixels
    expected = feature_distance(flat(drawn_images), real)
    assert row["value"] == pytest.approx(expected, abs=1e-9)
    marks = row["references"]
    assert set(marks) == {"floor", "copier", "base", "blank", "noise", "grain"}
    assert marks["floor"] == pytest.approx(feature_distance(train, real), abs=1e-9)
    assert abs(marks["floor"]) < 4 * row["detail"]["floor_se"]
    # Digits lie on black, and a row of zeros is 1 from every direction.
    within = pdist(real / np.linalg.norm(real, axis=1, keepdims=True)).mean()
    assert marks["blank"] == pytest.approx(2 - within, abs=1e-6)
    # In raw pixels a little grain is little, and noise is far.
    assert abs(marks["floor"]) < marks["grain"] < 0.1 < 0.3 < marks["noise"] < 1.2
    assert not set(scores["metrics"]["kid"]["references"]) & {"blank", "noise", "grain"}


def test_feature_rows_stand_beside_all_references(scores):
    for row in LABEL_ROWS | {"own-view-recall"}:
        references = scores["metrics"][row]["references"]
        assert set(references) == {"pixels", "pca", "encoder", "base", "random"}
    knn = scores["metrics"]["knn"]
    # The encoder of these settings is the pixels, so both references agree.
    assert knn["references"]["pixels"] == knn["references"]["encoder"] > 0.85
    assert {"layer", "log_snr", "grid", "dimension", "default", "label_free"} <= set(knn["detail"])


def test_cost_rows_repeat_the_record_and_count_the_network(scores):
    rows = {name: entry["value"] for name, entry in scores["metrics"].items()}
    model = small_model()
    count = sum(p.numel() for p in model.denoiser.parameters())
    assert rows["total-parameters"] == rows["trainable-parameters"] == count
    assert rows["stored-bytes"] == 4 * count
    assert (rows["seconds"], rows["images"], rows["images-per-second"]) == (12, 2400, 200)
    assert (rows["peak-memory"], rows["flops-per-image"]) == (10**8, 10**7)


def test_without_labels_the_label_rows_are_missing_and_the_others_the_same(scores, images, parts):
    unlabelled = evaluate(
        small_model(), replace(images, labels=None), parts, SETTINGS, seed=3, base=small_model(1),
        untrained=small_model(2),
    )["metrics"]  # fmt: skip
    assert not LABEL_ROWS & set(unlabelled)
    for row in (
        "feature-distance",
        "kid",
        "recall",
        "held-out-loss",
        "near-copies",
        "own-view-recall",
        "rankme",
    ):
        assert unlabelled[row] == scores["metrics"][row]


def test_few_shots_see_no_validation_label(scores, images, parts):
    """k labels a class choose their own place: with others' labels mixed up they score the same."""
    labels = images.labels.copy()
    labels[parts.validation] = generator(0, "mixed").permutation(labels[parts.validation])
    mixed = evaluate(
        small_model(), replace(images, labels=labels), parts, SETTINGS, seed=3,
        base=small_model(1), untrained=small_model(2),
    )["metrics"]  # fmt: skip
    for row in ("few-shot-1", "few-shot-5", "few-shot-10"):
        assert mixed[row] == scores["metrics"][row]
    assert mixed["knn"]["detail"]["validation"] != scores["metrics"]["knn"]["detail"]["validation"]


def test_a_copier_is_found_and_its_pairs_are_named(images, parts):
    rng = generator(0, "a copier's noise")
    copied = parts.train[:40]
    noisy = images.pixels[copied] + rng.normal(0, 4, (40, 8, 8, 1))
    samples = Samples(noisy.clip(0, 255).astype(np.uint8), sample_seeds(0, 40), 1.0)
    rows = evaluate(small_model(), images, parts, SETTINGS, seed=0, samples=samples)["metrics"]
    copies = rows["near-copies"]
    assert copies["value"] > 0.9 and copies["references"]["held-out"] < 0.05
    assert rows["nearest-to-training"]["detail"]["interval"][0] > 0.5
    for pair in copies["detail"]["pairs"]:
        assert pair["training"] == images.ids[copied[pair["sample"]]]
    assert copies["detail"]["nearest"] == copied.tolist()


def test_the_base_beside_itself_differs_in_nothing(images, parts):
    rows = evaluate(small_model(), images, parts, SETTINGS, seed=3, base=small_model())["metrics"]
    for row in (
        "feature-distance",
        "kid",
        "precision",
        "held-out-loss",
        "loss-gap",
        "knn",
        "own-view-recall",
    ):
        assert rows[row]["value"] == rows[row]["references"]["base"]


def test_forgetting_is_loss_and_kid_on_the_source_before_and_after(scores):
    loss = scores["metrics"]["forgetting-loss"]
    assert loss["value"] != loss["references"]["base"]
    own, base = small_model().state_digest(), small_model(1).state_digest()
    assert own == scores["checkpoint"] != base


def test_images_of_one_group_and_one_kind_leave_cells_empty_without_a_crash(images):
    one = replace(images, groups=np.zeros(400, np.int64))
    parts = replace(split(images, 0), test=np.arange(3), validation=np.arange(3, 6))
    rows = evaluate(small_model(), one, parts, SETTINGS, seed=0)["metrics"]
    assert rows["near-copies"]["value"] is None
    assert rows["precision"]["value"] is None and rows["coverage"]["value"] is None
    assert rows["kid"]["value"] is not None
    assert rows["feature-distance"]["value"] is not None


def test_a_model_that_draws_one_grey_has_no_recall(images, parts):
    grey = Samples(np.full((40, 8, 8, 1), 128, np.uint8), sample_seeds(0, 40), 1.0)
    rows = evaluate(small_model(), images, parts, SETTINGS, seed=0, samples=grey)["metrics"]
    assert rows["recall"]["value"] == 0 and rows["diversity"]["value"] == pytest.approx(0, abs=1e-6)


def test_starting_noises_are_a_blocks_own():
    assert sample_seeds(1, 4) == sample_seeds(1, 8)[:4]
    assert not set(sample_seeds(0, 1000)) & set(sample_seeds(1, 1000))


def test_draws_of_images_are_fixed_and_nested():
    index = np.arange(100, 200)
    few, more = drawn(index, 10, "x"), drawn(index, 20, "x")
    assert set(few) < set(more) and len(few) == 10 and (np.diff(few) > 0).all()
    np.testing.assert_array_equal(few, drawn(index, 10, "x"))
    torch.testing.assert_close(torch.from_numpy(drawn(index, 500, "x")), torch.from_numpy(index))
