"""Views against their definitions: areas, ratios, moves and factors."""

import time

import numpy as np
import pytest

from kurabe.data.views import VIEWS, Policy, view
from kurabe.errors import UserError
from kurabe.randomness import generator

RNG = np.random.default_rng


def test_a_view_is_a_function_of_image_and_generator():
    image = RNG(0).integers(0, 256, (32, 32, 3), np.uint8)
    for name in VIEWS:
        first, again = (view(image, generator(3, "v", 5), name) for _ in range(2))
        np.testing.assert_array_equal(first, again)
        assert first.shape == image.shape and first.dtype == np.uint8
    np.testing.assert_array_equal(view(image, RNG(1), "none"), image)


def test_crops_keep_their_share_of_the_area():
    """On a ramp x + 64 y the slopes of a view give its width and height: area = product."""
    y, x = np.mgrid[:64, :64]
    ramps = np.stack([2 * x, 2 * y, 0 * x], -1).astype(np.uint8)
    shares, ratios = [], []
    for seed in range(400):
        seen = view(ramps, RNG(seed), Policy(area=0.3)).astype(float)
        inner = slice(8, 56)
        width = np.polyfit(np.arange(48), seen[32, inner, 0], 1)[0] / 2
        height = np.polyfit(np.arange(48), seen[inner, 32, 1], 1)[0] / 2
        shares.append(width * height)
        ratios.append(width / height)
    assert min(shares) > 0.28 and max(shares) < 1.02
    # Uniform from .3 to 1: mean .65, standard deviation .7/√12.
    assert abs(np.mean(shares) - 0.65) < 4 * 0.7 / np.sqrt(12 * 400)
    assert min(ratios) > 0.72 and max(ratios) < 1.37


def test_flips_happen_half_the_time():
    image = np.zeros((4, 4, 1), np.uint8)
    image[:, 0] = 255
    flipped = [view(image, RNG(seed), "flip")[0, 3, 0] == 255 for seed in range(400)]
    assert abs(np.mean(flipped) - 0.5) < 4 * 0.025


def test_shifts_move_whole_pixels_and_repeat_the_edge():
    image = RNG(0).integers(0, 256, (16, 16, 1), np.uint8)
    moves = set()
    for seed in range(300):
        seen = view(image, RNG(seed), "shift")
        found = [
            (down, right)
            for down in range(-2, 3)
            for right in range(-2, 3)
            if np.array_equal(
                seen,
                np.pad(image, ((2, 2), (2, 2), (0, 0)), "edge")[2 - down :, 2 - right :][:16, :16],
            )
        ]
        assert len(found) == 1
        moves.add(found[0])
    assert len(moves) == 25


def test_jitter_of_a_flat_image_is_a_factor_of_its_brightness():
    """A flat grey has no contrast and no saturation: only brightness, within 1 ± .4, is left."""
    image = np.full((8, 8, 3), 100, np.uint8)
    values = np.array([view(image, RNG(s), Policy(jitter=0.4))[0, 0, 0] for s in range(400)])
    assert values.min() >= 59 and values.max() <= 141
    assert abs(values.mean() - 100) < 4 * 100 * 0.8 / np.sqrt(12 * 400) + 0.5


@pytest.mark.parametrize("channels", [1, 3])
def test_jitter_is_brightness_then_contrast_then_saturation(channels):
    """Step by step as Pillow's enhancers define them, in float and without their rounding."""
    image = RNG(0).integers(80, 140, (8, 8, channels), np.uint8)
    for seed in range(20):
        brightness, contrast, saturation = 1 + 0.3 * (2 * RNG(seed).random(3) - 1)
        x = image * brightness
        x = x.mean() + contrast * (x - x.mean())
        if channels == 3:
            luma = (x @ [0.299, 0.587, 0.114])[..., None]
            x = luma + saturation * (x - luma)
        seen = view(image, RNG(seed), Policy(jitter=0.3))
        assert abs(seen - np.clip(x, 0, 255)).max() <= 0.501


def test_an_unknown_policy_is_named():
    with pytest.raises(UserError, match=r'no views "zoom"; there are none, flip'):
        view(np.zeros((4, 4, 1), np.uint8), RNG(0), "zoom")


@pytest.mark.parametrize("name", ["crop-flip", "crop-flip-jitter"])
def test_views_keep_up_with_training(name):
    """3,000 views a second on one thread at 32×32; the best of five tries, for busy machines."""
    image = RNG(0).integers(0, 256, (32, 32, 3), np.uint8)
    rates = []
    for _ in range(5):
        rng, begun = RNG(0), time.process_time()
        for _ in range(300):
            view(image, rng, VIEWS[name])
        rates.append(300 / (time.process_time() - begun))
    assert max(rates) > 3000
