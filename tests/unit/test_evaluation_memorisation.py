"""Near-copies: what the fixed bound misses and the calibrated one finds, on real drawings.

The images are scikit-learn's handwritten digits, enlarged to 28 × 28, and the emoji that come with
the package's own base: always there.
"""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import beta, binomtest
from sklearn.datasets import load_digits

from kurabe.evaluation import memorisation as m


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    small = (load_digits().images * 15.9).astype(np.uint8)
    large = [
        np.asarray(Image.fromarray(i).resize((28, 28), Image.Resampling.BICUBIC)) for i in small
    ]
    order = np.random.default_rng(0).permutation(len(large))
    return np.stack(large)[order][..., None]


@pytest.fixture(scope="module")
def train(digits) -> np.ndarray:
    return digits[:200]


def ratios(images: np.ndarray, train: np.ndarray) -> np.ndarray:
    found = m.nearest(m.structure_distances(images, train), np.arange(len(train)))
    assert found is not None
    return found.ratio


@pytest.fixture(scope="module")
def known(digits, train) -> np.ndarray:
    """d₁/d₂ of 500 real images that are none of the training images."""
    return ratios(digits[200:700], train)


def usual_detector(images: np.ndarray, train: np.ndarray) -> float:
    """Share with d₁/d₂ < 1/3 under the plain pixel distance."""
    flat = [torch.from_numpy(x.reshape(len(x), -1) / 255) for x in (images, train)]
    nearest, second = torch.cdist(*flat).topk(2, largest=False).values.T
    return float((nearest < second / 3).double().mean())


def moved(images: np.ndarray, dy: int, dx: int) -> np.ndarray:
    side = images.shape[1]
    padded = np.pad(images, ((0, 0), (3, 3), (3, 3), (0, 0)), mode="edge")
    return padded[:, 3 + dy : 3 + dy + side, 3 + dx : 3 + dx + side]


def turned(images: np.ndarray, angle: float) -> np.ndarray:
    pictures = [Image.fromarray(i.squeeze()) for i in images]
    paper = [p.getpixel((0, 0)) for p in pictures]
    return np.stack(
        [
            np.asarray(p.rotate(angle, Image.Resampling.BICUBIC, fillcolor=c)).reshape(i.shape)
            for p, c, i in zip(pictures, paper, images, strict=True)
        ]
    )


def noisy(images: np.ndarray, sigma: float) -> np.ndarray:
    noise = np.random.default_rng(1).normal(size=images.shape)
    return np.clip(images + sigma * 255 * noise, 0, 255).astype(np.uint8)


def recoloured(images: np.ndarray, turn: int) -> np.ndarray:
    """Every hue turned, of 256."""
    if images.shape[3] == 1:
        return images
    hsv = np.stack([np.asarray(Image.fromarray(i).convert("HSV")) for i in images])
    hsv[..., 0] += np.uint8(turn)
    return np.stack([np.asarray(Image.fromarray(i, "HSV").convert("RGB")) for i in hsv])


# What a model that memorises may do to a picture.
COPIES = {
    "as it is": lambda x: x,
    "noise": lambda x: noisy(x, 0.1),
    "moved by one": lambda x: moved(x, 0, 1),
    "moved by three": lambda x: moved(x, -2, 3),
    "mirrored": lambda x: x[:, :, ::-1],
    "darker": lambda x: (x * 0.6).astype(np.uint8),
    "paler": lambda x: (255 - (255 - x.astype(float)) * 0.6).astype(np.uint8),
    "gamma": lambda x: (255 * (x / 255) ** 1.8).astype(np.uint8),
    "another hue": lambda x: recoloured(x, 43),
    "turned by 5": lambda x: turned(x, 5),
    "turned by 15": lambda x: turned(x, -15),
    "mirrored, moved, darker": lambda x: (moved(x[:, :, ::-1], 1, 1) * 0.7).astype(np.uint8),
}


def test_distance_by_trying_everything(digits):
    a, b = digits[:2], digits[2:5]
    ours = m.structure_distances(a, b).numpy()
    assert (m.structure_distances(a, a).diagonal() < 1e-3).all()

    def cells(field, y, x):
        window = field[y : y + 22, x : x + 22]
        means = sum(window[i::2, j::2] for i in (0, 1) for j in (0, 1)) / 4
        return means / np.linalg.norm(means)

    for i in range(2):
        for j in range(3):
            still = cells(m.structure(b[j : j + 1])[0], 3, 3)
            tried = [
                np.linalg.norm(cells(m.structure(way)[0], y, x) - still)
                for way in m._turned(a[i : i + 1])
                for y in range(7)
                for x in range(7)
            ]
            assert len(tried) == 2 * 7 * 49
            assert ours[i, j] == pytest.approx(min(tried), abs=1e-4)


def test_structure_of_a_ramp_is_its_slope_at_twice_its_angle():
    # Brightness a x + b y: every inner pixel has the gradient (a, b), of length r at angle θ.
    y, x = np.mgrid[:16, :16]
    ramp = (3 * x + 4 * y).astype(np.uint8)[None, ..., None]
    inner = m.structure(ramp)[0, 5:-5, 5:-5]
    theta = np.arctan2(4, 3)
    expected = 5 / 255 * np.array([np.cos(2 * theta), np.sin(2 * theta)])
    assert inner == pytest.approx(np.broadcast_to(expected, inner.shape), abs=1e-6)
    # Three equal colours are one gradient three times over; the sign of an edge does not count.
    colour = m.structure(np.repeat(ramp, 3, axis=3))[0, 5:-5, 5:-5]
    assert colour == pytest.approx(inner * np.sqrt(3), abs=1e-6)
    assert m.structure(255 - ramp)[0, 5:-5, 5:-5] == pytest.approx(inner, abs=1e-6)


def test_a_blank_image_is_near_blank_ones_alone(digits):
    blank = np.full((1, 28, 28, 1), 250, np.uint8)
    assert m.structure_distances(blank, np.full_like(blank, 3)).item() == 0
    assert m.structure_distances(blank, digits[:20]).numpy() == pytest.approx(1, abs=1e-6)


def test_d1_and_d2_are_of_two_groups():
    distances = torch.tensor([[3.0, 1.0, 1.5, 2.0]])
    found = m.nearest(distances, np.array([0, 1, 1, 2]))
    assert (found.first[0], found.distance[0]) == (1, 1.0)
    # 1.5 is of the nearest image's own group, so d₂ is 2.
    assert found.ratio[0] == pytest.approx(0.5)
    assert m.nearest(distances, np.zeros(4, dtype=int)) is None


@pytest.mark.parametrize("how", COPIES)
def test_copies_are_found_where_a_fixed_bound_on_pixels_misses_most(train, known, how):
    copies = COPIES[how](train[:100])
    assert (ratios(copies, train) < m.threshold(known)).mean() >= 0.95
    # Hues of grey pictures are the same.
    if (copies != train[:100]).any():
        assert usual_detector(copies, train) <= 0.1


def test_two_twins_among_ninety_do_not_hide_noisy_copies(train, known):
    copies = ratios(noisy(train[:100], 0.1), train)
    for twin in COPIES.values():
        with_twins = np.concatenate([known[2:90], ratios(twin(train[50:52]), train)])
        bound = m.threshold(with_twins)
        # A twin that hardly is one stays in; the bound is then what it says of itself.
        assert bound >= 0.9 * m.threshold(known[2:90])
        assert (copies < bound).mean() >= 0.95
        assert m.false_alarms(with_twins) >= 2 / 90
    exact = np.concatenate([known[2:90], ratios(train[50:52], train)])
    assert m.twins(exact) == 2 and m.threshold(exact) == m.threshold(known[2:90])


def test_fresh_real_images_are_flagged_at_about_the_quantile(digits, train, known):
    fresh = ratios(digits[700:], train)
    alarms = int((fresh < m.threshold(known)).sum())
    # The bound is the 15th of 500; the share of fresh images below it follows Beta(15, 486).
    low, high = beta(15, 486).ppf([0.0005, 0.9995])
    assert low - 0.006 < alarms / len(fresh) < high + 0.006
    assert m.false_alarms(known) == pytest.approx(0.03, abs=0.004)


def test_nearest_image_test_is_even_for_fresh_images_and_not_for_copies(digits, train):
    held_out, fresh = digits[200:400], digits[400:528]

    def share(samples):
        return m.nearest_to_training(
            m.structure_distances(samples, train), m.structure_distances(samples, held_out)
        )

    even = share(fresh)
    assert even.low < 0.5 < even.high and even.compared == 200
    copied = share(moved(train[:128], 0, 1))
    assert copied.share > 0.95 and copied.low > 0.5


def test_thinning_the_larger_set_keeps_the_test_even():
    rng = np.random.default_rng(2)
    samples, train, held_out = (torch.from_numpy(rng.normal(size=(n, 3))) for n in (400, 300, 60))
    found = m.nearest_to_training(torch.cdist(samples, train), torch.cdist(samples, held_out))
    assert found.low < 0.5 < found.high and found.compared == 60
    # Against all 300 the share would be 300 / 360.
    assert found.share == pytest.approx(0.5, abs=0.1)


@pytest.mark.network
@pytest.mark.parametrize("name", ["fashion-mnist", "openmoji", "emoji-base"])
def test_copies_are_found_in_other_sets(name):
    # bench/copies.py prints these shares for every set.
    from kurabe.data import load

    images = load(name, size=32) if name != "fashion-mnist" else load(name)
    order = np.random.default_rng(0).permutation(len(images.pixels))
    _, first = np.unique(images.groups[order], return_index=True)
    pixels = images.pixels[order[np.sort(first)]]
    train, held = pixels[:200], pixels[200:400]
    bound = m.threshold(ratios(held, train))
    for how, change in COPIES.items():
        found = (ratios(change(train[:100]), train) < bound).mean()
        assert found >= 0.9, (how, found)


@pytest.mark.parametrize(("found", "n"), [(0, 7), (7, 7), (1, 2), (13, 40), (500, 1000)])
def test_the_interval_of_a_share_is_scipys_exact_one(found, n):
    theirs = binomtest(found, n).proportion_ci()
    assert m.clopper_pearson(found, n) == pytest.approx((theirs.low, theirs.high), rel=1e-9)
