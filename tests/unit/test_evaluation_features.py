"""Features of a model, where they are taken, and the proof that test has no say in it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from kurabe.adaptations.full import AllWeights, Full
from kurabe.data import ImageSet, split
from kurabe.encoders import load_encoder
from kurabe.evaluation.feature_rows import Fixed, ModelSource, choose, represent
from kurabe.evaluation.model_features import Pictures, Place, extract, noise_share, pool
from kurabe.evaluation.subsets import gather
from kurabe.recipe import Evaluation, Network
from kurabe.spaces import Pixels
from kurabe.training import Model
from kurabe.training.model import make_denoiser

NETWORK = Network(patch=2, width=32, depth=3, heads=2, decoder=1)
SETTINGS = Evaluation(samples=40, evaluations=4, encoder="pixels")


def digits(count: int = 300, labelled: bool = True) -> ImageSet:
    data = load_digits()
    pixels = (data.images[:count, :, :, None] * 15.9).astype(np.uint8)
    labels = data.target[:count].astype(np.int64) if labelled else None
    ids = tuple(map(str, range(count)))
    return ImageSet("digits", pixels, ids, np.arange(count), labels, tuple("0123456789"))


def small_model(seed: int = 0) -> Model:
    """Random weights, those that start at zero included, so that its layers differ."""
    torch.manual_seed(seed)
    denoiser = make_denoiser(NETWORK, 8, 1)
    for parameter in denoiser.parameters():
        if not parameter.detach().any():
            torch.nn.init.normal_(parameter, std=0.05)
    return Model(denoiser, AllWeights(denoiser.backbone, Full()), NETWORK, Pixels(8, 1))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KURABE_CACHE", str(tmp_path))


def test_pooling_by_hand():
    tokens = torch.arange(2 * 16 * 3, dtype=torch.float32).reshape(2, 16, 3)
    grid = tokens.reshape(2, 4, 4, 3)
    quarters = [grid[:, y : y + 2, x : x + 2].mean((1, 2)) for y in (0, 2) for x in (0, 2)]
    torch.testing.assert_close(pool(tokens, (4, 4), 2), torch.cat(quarters, 1))
    torch.testing.assert_close(pool(tokens, (4, 4), 1), tokens.mean(1))


def test_features_do_not_depend_on_batch_or_company():
    model, images = small_model(), digits(20)
    everything = Pictures(images.pixels, np.arange(20))
    three = np.array([3, 11, 17])
    alone = extract(model, Pictures(images.pixels[three], three), 2.0, ("block-2",), (2,), 2)
    for batch in (1, 7, 64):
        cells = extract(model, everything, 2.0, ("block-2",), (2,), 2, batch)
        np.testing.assert_allclose(cells["block-2", 2][three], alone["block-2", 2], atol=1e-5)


def test_samples_do_not_depend_on_the_batch():
    model = small_model()
    seeds = [5, 6, 7, 8, 9]
    whole = model.sample(seeds, 4, "ddim", batch=64).astype(int)
    for batch in (1, 2):
        assert np.abs(model.sample(seeds, 4, "ddim", batch=batch) - whole).max() <= 1
    assert np.abs(model.sample([8], 4, "ddim", batch=64) - whole[3]).max() <= 1


def test_fresh_noise_is_all_the_variance_of_one_image_and_none_without_noise():
    model = small_model()
    one = Pictures(np.repeat(digits(1).pixels, 200, 0), np.arange(200))
    place = Place("block-1", 0.0, 1)
    assert noise_share(model, one, place, draws=2) == pytest.approx(1, abs=0.15)
    images = Pictures(digits(50).pixels, np.arange(50))
    clean, noisy = (noise_share(model, images, Place("block-1", s, 1)) for s in (25.0, -2.0))
    assert clean < 1e-6 < 0.1 < noisy <= 1.2


def test_permuting_test_labels_or_images_changes_no_choice():
    images, model = digits(), small_model()
    parts = split(images, 0)
    chosen = choose(ModelSource(model, SETTINGS), gather(images, parts, SETTINGS))
    rng = np.random.default_rng(0)
    labels, pixels = images.labels.copy(), images.pixels.copy()
    labels[parts.test] = rng.permutation(labels[parts.test])
    pixels[parts.test] = rng.integers(0, 256, pixels[parts.test].shape, dtype=np.uint8)
    spoiled = replace(images, labels=labels, pixels=pixels)
    again = choose(ModelSource(model, SETTINGS), gather(spoiled, parts, SETTINGS))
    assert again.best == chosen.best and again.scores == chosen.scores
    # And a change that may matter does: validation's labels.
    labels = images.labels.copy()
    labels[parts.validation] = rng.permutation(labels[parts.validation])
    other = choose(
        ModelSource(model, SETTINGS), gather(replace(images, labels=labels), parts, SETTINGS)
    )
    assert other.scores["knn"] != chosen.scores["knn"]
    assert other.scores["own-view-recall"] == chosen.scores["own-view-recall"]


def test_test_features_are_taken_only_after_the_choice():
    images, parts = digits(), split(digits(), 0)
    material = gather(images, parts, SETTINGS)
    seen = []

    def vectors(pictures: Pictures) -> np.ndarray:
        seen.append(bool(np.isin(pictures.positions, parts.test).any()))
        return pictures.pixels.reshape(len(pictures), -1).astype(np.float32)

    choose(Fixed("pixels", vectors), material)
    assert seen and not any(seen)


def test_raw_pixels_score_what_scikit_learn_says():
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.preprocessing import StandardScaler

    images = digits(600)
    parts = split(images, 0)
    encoder = load_encoder("pixels", size=8, channels=1)
    rows = represent(
        Fixed("pixels", lambda p: encoder.encode(p.pixels)),
        gather(images, parts, SETTINGS), SETTINGS, seed=0,
    )  # fmt: skip
    x, y = encoder.encode(images.pixels).astype(np.float64), images.labels
    near = KNeighborsClassifier(20, metric="cosine", weights=lambda d: np.exp((1 - d) / 0.07))
    near.fit(x[parts.train], y[parts.train])
    assert rows["knn"]["value"] == pytest.approx(near.score(x[parts.test], y[parts.test]), abs=1e-5)
    x = StandardScaler().fit(x[parts.train]).transform(x)
    strength = rows["linear-probe"]["detail"]["strength"]
    probe = LogisticRegression(C=strength, tol=1e-10, max_iter=20000)
    probe.fit(x[parts.train], y[parts.train])
    expected = probe.score(x[parts.test], y[parts.test])
    assert rows["linear-probe"]["value"] == pytest.approx(expected, abs=1e-5)
    assert (
        rows["few-shot-1"]["value"] < rows["few-shot-10"]["value"] < rows["linear-probe"]["value"]
    )


class TwoPlaces:
    """Pixels, and the uppermost row of them alone, which is the place declared beforehand."""

    places = (Place("pixels", 1.0, 1), Place("top row", 1.0, 1))
    default = places[1]

    def features(self, pictures: Pictures, place: Place) -> np.ndarray:
        pixels = pictures.pixels.reshape(len(pictures), -1).astype(np.float32)
        return pixels if place.layer == "pixels" else pixels[:, :8]

    def noise_share(self, pictures: Pictures, place: Place) -> None:
        """No noise enters."""


def test_a_row_of_few_labels_chooses_its_place_by_those_labels_alone():
    """Validation labels that mislead, and all labels beside those drawn, change nothing."""
    images = digits(600)
    material = gather(images, split(images, 0), SETTINGS)
    labels = material.labels
    assert labels is not None
    rows = represent(TwoPlaces(), material, SETTINGS, seed=0)
    layers = {k: {p["layer"] for p in rows[f"few-shot-{k}"]["detail"]["places"]} for k in (5, 10)}
    assert layers == {5: {"pixels"}, 10: {"pixels"}}
    wrong = np.zeros_like(labels.validation.labels)
    misled = replace(labels, validation=replace(labels.validation, labels=wrong))
    again = represent(TwoPlaces(), replace(material, labels=misled), SETTINGS, seed=0)
    assert again["linear-probe"] != rows["linear-probe"]
    for k in (1, 5, 10):
        assert again[f"few-shot-{k}"] == rows[f"few-shot-{k}"]
    # One label a class cannot choose: the place is the one that needs none.
    place = rows["own-view-recall"]["detail"]["layer"]
    assert {p["layer"] for p in rows["few-shot-1"]["detail"]["places"]} == {place}


def test_few_labels_serve_the_label_rows_and_no_other():
    images = digits()
    parts = split(images, 0)
    sparse = np.full(300, -1)
    kept = np.arange(0, 300, 2)
    sparse[kept] = images.labels[kept]
    material = gather(replace(images, labels=sparse), parts, SETTINGS)
    assert material.labels is not None
    assert np.isin(material.labels.train.pictures.positions, kept).all()
    unlabelled = gather(replace(images, labels=None), parts, SETTINGS)
    assert unlabelled.labels is None
    np.testing.assert_array_equal(
        unlabelled.test.pictures.positions, material.test.pictures.positions
    )


def test_a_class_that_train_lacks_is_never_right():
    images = digits()
    parts = split(images, 0)
    labels = images.labels.copy()
    labels[parts.test] = 9
    labels[parts.train] = np.where(labels[parts.train] == 9, 8, labels[parts.train])
    material = gather(replace(images, labels=labels), parts, SETTINGS)
    assert material.labels.classes == 9 and (material.labels.test.labels == -1).all()
    source = Fixed("pixels", lambda p: p.pixels.reshape(len(p), -1).astype(np.float32))
    rows = represent(source, material, SETTINGS, seed=0)
    assert rows["knn"]["value"] == rows["linear-probe"]["value"] == 0


def test_the_same_weights_read_otherwise_have_another_identity():
    """Caches are kept by it: schedule, prediction, heads, solver and arithmetic count."""
    from dataclasses import replace

    from kurabe.evaluation.model_features import identity_of
    from kurabe.methods import Choices
    from kurabe.objectives.denoising import Denoising
    from kurabe.recipe import Budget, DataSettings, Network, Recipe
    from kurabe.training.model import start_model

    recipe = Recipe(
        method="ddpm",
        choices=Choices(start="random", adaptation=Full(), objective=(Denoising(),)),
        data=DataSettings(source="digits"),
        budget=Budget(images=1),
        network=Network(patch=2, width=32, depth=2, heads=2, decoder=1, refine=8),
    )

    def model(**network):
        changed = recipe.network.model_copy(update=network)
        return start_model(recipe.model_copy(update={"network": changed}), 8, 1)

    own = model()
    others = [
        model(schedule="flow"), model(prediction="eps"), model(heads=4),
        replace(own, solver="ddim"), replace(own, dtype="bfloat16"),
    ]  # fmt: skip
    assert {m.state_digest() for m in others} == {own.state_digest()}
    assert len({identity_of(m) for m in [own, *others]}) == 6
    assert identity_of(model()) == identity_of(own)
