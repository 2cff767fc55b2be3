"""Near-copies: what the fixed bound misses and the calibrated one finds, on real drawings.

The images are scikit-learn's handwritten digits, enlarged to 28 × 28: embedded, so always there.
"""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import beta, binomtest
from sklearn.datasets import load_digits

from kurabe.evaluation import memorisation as m

SHIFT = m.default_shift(28)


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
    found = m.nearest(m.shifted_distances(images, train, SHIFT), np.arange(len(train)))
    assert found is not None
    return found.ratio


def usual_detector(images: np.ndarray, train: np.ndarray) -> float:
    """Share with d₁/d₂ < 1/3 under the plain pixel distance."""
    flat = [torch.from_numpy(x.reshape(len(x), -1) / 255) for x in (images, train)]
    nearest, second = torch.cdist(*flat).topk(2, largest=False).values.T
    return float((nearest < second / 3).double().mean())


def moved(images: np.ndarray, dy: int, dx: int) -> np.ndarray:
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    return padded[:, 1 + dy : 29 + dy, 1 + dx : 29 + dx]


def test_shifted_distance_by_trying_all_shifts(digits):
    a, b = digits[:3, :, :, 0] / 255, digits[3:8, :, :, 0] / 255
    ours = m.shifted_distances(digits[:3], digits[3:8], 2).numpy()

    def cells(window):
        return sum(window[y::2, x::2] for y in (0, 1) for x in (0, 1)) / 4

    for i in range(3):
        for j in range(5):
            window = cells(a[i, 2:26, 2:26])
            tried = [
                np.sqrt(((window - cells(b[j, y : y + 24, x : x + 24])) ** 2).mean())
                for y in range(5)
                for x in range(5)
            ]
            assert ours[i, j] == pytest.approx(min(tried), abs=1e-5)


def test_d1_and_d2_are_of_two_groups():
    distances = torch.tensor([[3.0, 1.0, 1.5, 2.0]])
    found = m.nearest(distances, np.array([0, 1, 1, 2]))
    assert (found.first[0], found.distance[0]) == (1, 1.0)
    # 1.5 is of the nearest image's own group, so d₂ is 2.
    assert found.ratio[0] == pytest.approx(0.5)
    assert m.nearest(distances, np.zeros(4, dtype=int)) is None


def test_a_copy_moved_by_one_pixel_is_found_where_a_fixed_bound_finds_none(digits, train):
    bound = m.threshold(ratios(digits[200:700], train))
    for step in ((0, 1), (1, 0), (-1, 1)):
        copies = moved(train, *step)
        assert (ratios(copies, train) < bound).mean() == 1
        assert usual_detector(copies, train) <= 0.1


def test_noisy_copies_are_found_where_a_fixed_bound_misses_most(digits, train):
    noise = np.random.default_rng(1).normal(size=train.shape)
    copies = np.clip(train + 0.1 * 255 * noise, 0, 255).astype(np.uint8)
    bound = m.threshold(ratios(digits[200:700], train))
    assert (ratios(copies, train) < bound).mean() > 0.9
    assert usual_detector(copies, train) < 0.05


def test_fresh_real_images_are_flagged_at_about_the_quantile(digits, train):
    known = ratios(digits[200:700], train)
    fresh = ratios(digits[700:], train)
    alarms = int((fresh < m.threshold(known)).sum())
    # The bound is the 5th of 500; the share of fresh images below it follows Beta(5, 496).
    low, high = beta(5, 496).ppf([0.0005, 0.9995])
    assert low - 0.006 < alarms / len(fresh) < high + 0.006
    assert m.false_alarms(known) == pytest.approx(0.01, abs=0.004)


def test_nearest_image_test_is_even_for_fresh_images_and_not_for_copies(digits, train):
    held_out, fresh = digits[200:400], digits[400:528]

    def share(samples):
        return m.nearest_to_training(
            m.shifted_distances(samples, train, SHIFT),
            m.shifted_distances(samples, held_out, SHIFT),
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
def test_the_simulated_facts_on_fashion_mnist():
    # As simulated beforehand on 200 images: the fixed bound finds 0 % of copies moved by a
    # pixel and few with noise of 0.1; the calibrated one finds them.
    from kurabe.data import load

    pixels = load("fashion-mnist").pixels
    pixels = pixels[np.random.default_rng(0).permutation(len(pixels))[:2700]]
    train, known, fresh = pixels[:200], ratios(pixels[200:700], pixels[:200]), pixels[700:]
    bound = m.threshold(known)
    slid = moved(train, 0, 1)
    noise = np.random.default_rng(1).normal(size=train.shape)
    noisy = np.clip(train + 0.1 * 255 * noise, 0, 255).astype(np.uint8)
    assert usual_detector(slid, train) <= 0.01 and usual_detector(noisy, train) < 0.2
    assert (ratios(slid, train) < bound).mean() == 1
    assert (ratios(noisy, train) < bound).mean() > 0.9
    assert (ratios(fresh, train) < bound).mean() == pytest.approx(0.01, abs=0.01)


@pytest.mark.parametrize(("found", "n"), [(0, 7), (7, 7), (1, 2), (13, 40), (500, 1000)])
def test_the_interval_of_a_share_is_scipys_exact_one(found, n):
    theirs = binomtest(found, n).proportion_ci()
    assert m.clopper_pearson(found, n) == pytest.approx((theirs.low, theirs.high), rel=1e-9)
