"""Moved, mirrored and turned copies share a group; other images do not."""

import io

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from kurabe.data.duplicates import near_duplicates
from kurabe.data.resize import resized


def drawings(count: int = 100) -> np.ndarray:
    """Digits drawn on 32×32 with a margin of 6, grey."""
    small = np.rint(load_digits().images[:count] * (255 / 16)).astype(np.uint8)
    cubic = Image.Resampling.BICUBIC
    large = [np.asarray(Image.fromarray(x).resize((20, 20), cubic)) for x in small]
    return np.pad(np.stack(large), ((0, 0), (6, 6), (6, 6)))[..., None]


def grouped(images: np.ndarray, copies: np.ndarray) -> float:
    """Share of copies in their originals' groups."""
    groups = near_duplicates(np.concatenate([images, copies]))
    return float(np.mean(groups[: len(copies)] == groups[len(images) :]))


def test_moved_and_mirrored_copies_are_grouped():
    images = drawings()
    for moved in ((1, 0), (-2, 2), (3, -3)):
        assert grouped(images, np.roll(images, moved, axis=(1, 2))) == 1
    assert grouped(images, images[:, :, ::-1]) == 1


def test_copies_turned_by_up_to_five_degrees_are_grouped():
    images = drawings()
    for angle in (-5, -3, 4, 5):
        turned = [
            np.asarray(Image.fromarray(x[..., 0]).rotate(angle, 2))[..., None] for x in images
        ]
        assert grouped(images, np.stack(turned)) >= 0.95


def test_copies_stored_anew_are_grouped():
    images = drawings()
    assert grouped(images, (images * 0.7).astype(np.uint8)) == 1
    noise = np.random.default_rng(1).normal(0, 0.03 * 255, images.shape)
    assert grouped(images, np.clip(images + noise, 0, 255).astype(np.uint8)) == 1
    for quality in (30, 75):
        stored = []
        for image in images:
            file = io.BytesIO()
            Image.fromarray(image[..., 0]).save(file, "JPEG", quality=quality)
            stored.append(np.asarray(Image.open(file))[..., None])
        assert grouped(images, np.stack(stored)) >= 0.95
    assert grouped(images, resized(resized(images, 24), 32)) >= 0.9


def test_other_drawings_of_the_same_digits_stay_apart():
    """600 people's digits as published; enlarged to blurs, small groups come together."""
    published = np.rint(load_digits().images[:600] * (255 / 16)).astype(np.uint8)[..., None]
    assert len(np.unique(near_duplicates(published))) >= 598
    assert np.bincount(near_duplicates(drawings(600))).max() <= 10


def test_colours_tell_images_of_one_shape_apart():
    shape = np.random.default_rng(0).integers(0, 2, (16, 16, 1))
    colours = np.array([[255, 0, 0], [0, 0, 255], [0, 160, 0]])
    pixels = np.stack([255 - shape * (255 - colour) for colour in colours]).astype(np.uint8)
    assert len(np.unique(near_duplicates(pixels))) == 3
