"""Splits, limits, groups and near-duplicates as numbers."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kurabe.data import ImageSet, alike, split
from kurabe.data.duplicates import exact_duplicates, near_duplicates
from kurabe.errors import UserError


def some(groups, seed=0) -> ImageSet:
    groups = np.asarray(groups, dtype=np.int64)
    pixels = np.random.default_rng(seed).integers(0, 256, (len(groups), 4, 4, 1), np.uint8)
    return ImageSet("some", pixels, tuple(map(str, range(len(groups)))), groups)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=60, max_size=120), st.integers(0, 5))
def test_parts_are_disjoint_whole_and_keep_groups_together(groups, seed):
    # A set of which one group is nearly all has no three parts.
    assume(len(set(groups)) >= 15)
    images = some(groups)
    parts = split(images, seed)
    pieces = [parts.train, parts.validation, parts.test]
    assert sorted(np.concatenate(pieces).tolist()) == list(range(len(groups)))
    sides = [set(images.groups[piece].tolist()) for piece in pieces]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])


def test_validation_is_exact_and_the_test_part_binomial_where_groups_are_single():
    images = some(range(300))
    sizes = [len(split(images, 3, test_seed=t).test) for t in range(200)]
    # Binomial(300, .15): mean 45, variance 38.25; the mean of 200 has a deviation of .44.
    assert abs(np.mean(sizes) - 45) < 4 * 0.44
    assert 25 < np.var(sizes) < 55
    assert {len(split(images, seed).validation) for seed in range(5)} == {45}
    parts = split(images, 3, fractions=(0.4, 0.1, 0.5))
    # Binomial(300, .5): deviation 8.7.
    assert abs(len(parts.test) - 150) < 4 * 8.7
    assert len(parts.validation) == 30


def test_twenty_images_always_have_half_of_the_test_part_asked_for():
    sizes = [len(split(some(range(20), seed), 0).test) for seed in range(300)]
    assert min(sizes) == round(20 * 0.15 / 2)
    assert abs(np.mean(sizes) - 3.1) < 0.4


def test_roles_follow_content_not_names_order_or_company():
    """Renamed, in another order, with 40 more or 150 fewer: no image changes its role."""
    images = some(range(300))
    tested = {images.pixels[i].tobytes() for i in split(images, 0).test}
    order = np.random.default_rng(3).permutation(300)
    renamed = replace(images.subset(order), ids=tuple(f"other/{i}" for i in range(300)))
    assert renamed.by_content().digest == images.by_content().digest
    more = some(range(40), seed=9)
    grown = replace(
        images,
        pixels=np.concatenate([more.pixels, images.pixels]),
        ids=more.ids + tuple(f"x{i}" for i in range(300)),
        groups=np.arange(340),
    )
    known = {image.tobytes() for image in images.pixels}
    for other in (renamed, grown, images.limited(150, 4)):
        now = {other.pixels[i].tobytes() for i in split(other, 0).test}
        there = {image.tobytes() for image in other.pixels}
        assert now & known == tested & there
    for seed in (0, 7):
        mine, its = split(images.by_content(), seed), split(renamed.by_content(), seed)
        np.testing.assert_array_equal(mine.validation, its.validation)


def test_grey_images_keep_their_keys_among_colour_ones():
    grey = some(range(10))
    colour = replace(grey, pixels=np.repeat(grey.pixels, 3, axis=3))
    np.testing.assert_array_equal(grey.keys, colour.keys)


def test_test_is_fixed_and_the_rest_drawn_anew():
    images = some(range(300))
    splits = [split(images, seed) for seed in range(20)]
    for other in splits[1:]:
        np.testing.assert_array_equal(other.test, splits[0].test)
        assert not np.array_equal(other.validation, splits[0].validation)
    # 45 of 255 drawn anew: by chance 45²/255 = 7.9 in common; standard deviation 2.3.
    common = [len(np.intersect1d(splits[0].validation, s.validation)) for s in splits[1:]]
    assert abs(np.mean(common) - 45**2 / 255) < 4 * 2.3 / np.sqrt(19)
    assert not np.array_equal(split(images, 0, test_seed=1).test, splits[0].test)


def test_labels_change_neither_digest_nor_split():
    images = some(range(100))
    labelled = replace(images, labels=np.arange(100) % 3, label_names=("a", "b", "c"))
    shuffled = replace(labelled, labels=np.random.default_rng(1).permutation(100) % 3)
    assert images.digest == labelled.digest == shuffled.digest
    for name in ("train", "validation", "test"):
        parts = [getattr(split(x, 4), name) for x in (images, labelled, shuffled)]
        np.testing.assert_array_equal(parts[0], parts[1])
        np.testing.assert_array_equal(parts[0], parts[2])


def test_one_changed_pixel_changes_the_digest():
    images = some(range(10))
    changed = images.pixels.copy()
    changed[3, 2, 1, 0] ^= 1
    assert replace(images, pixels=changed).digest != images.digest


def test_too_few_to_split_is_said():
    with pytest.raises(UserError, match="has 2 different images"):
        split(some([0, 0, 1]), 0)


def test_a_limit_takes_whole_groups_the_same_every_time():
    images = some(np.repeat(np.arange(50), 3))
    few = images.limited(31, seed=2)
    assert len(few) == 30
    assert np.bincount(np.unique(few.groups, return_inverse=True)[1]).tolist() == [3] * 10
    assert few.ids == images.limited(31, seed=2).ids != images.limited(31, seed=3).ids
    assert images.limited(1000, seed=0) is images
    with pytest.raises(UserError, match="limit of 2 is smaller"):
        images.limited(2, seed=0)


def test_exact_duplicates_point_to_the_first():
    pixels = some(range(5)).pixels[[0, 1, 0, 2, 1, 0]]
    assert exact_duplicates(pixels).tolist() == [0, 1, 0, 3, 1, 0]


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """The largest over all shifts, the mirror image and turns, by the definition in float64."""
    own, best, side = alike.field(a[None])[0].astype(np.float64), -1.0, len(a)
    reach = min(alike.REACH, side // 8)
    for angle in (0, alike.ANGLE, -alike.ANGLE):
        for flipped in (False, True):
            other = alike.field(alike._turned(b[None], angle))[0].astype(np.float64)
            other = other[..., ::-1] if flipped else other
            for dy in range(-reach, reach + 1):
                for dx in range(-reach, reach + 1):
                    u = own[:, max(dy, 0) : side + min(dy, 0), max(dx, 0) : side + min(dx, 0)]
                    v = other[:, max(-dy, 0) : side + min(-dy, 0), max(-dx, 0) : side + min(-dx, 0)]
                    best = max(best, (u * v).sum() / np.sqrt((u**2).sum() * (v**2).sum()))
    return best


def test_near_duplicates_are_those_of_the_full_matrix():
    """Noisy, moved, mirrored copies of a few pictures, on both sides of the limit: every pair."""
    rng = np.random.default_rng(5)
    coarse = rng.integers(40, 216, (8, 8, 8, 1))
    kinds = np.repeat(np.repeat(coarse, 2, axis=1), 2, axis=2)
    noise = rng.uniform(2, 25, (24, 1, 1, 1)) * rng.normal(size=(24, 16, 16, 1))
    copies = kinds[rng.integers(0, 8, 24)] + noise
    copies[:6] = np.roll(copies[:6], (1, -2), axis=(1, 2))
    copies[6:12] = copies[6:12, :, ::-1]
    pixels = np.clip(np.concatenate([kinds, copies]), 0, 255).astype(np.uint8)
    count = len(pixels)
    found = [
        (i, j)
        for i in range(count)
        for j in range(i)
        if correlation(pixels[i], pixels[j]) >= alike.CORRELATION
    ]
    assert 5 < len(found) < 200
    parent = list(range(count))

    def root(i):
        while parent[i] != i:
            i = parent[i]
        return i

    for i, j in found:
        parent[max(root(i), root(j))] = min(root(i), root(j))
    expected = np.unique([root(i) for i in range(count)], return_inverse=True)[1]
    np.testing.assert_array_equal(near_duplicates(pixels), expected)


def test_other_images_make_no_two_alike():
    """What two images are to one another hangs on no third."""
    rng = np.random.default_rng(8)
    pixels = rng.integers(0, 256, (40, 16, 16, 1), np.uint8)
    pixels[20:] = np.clip(pixels[:20] + rng.normal(0, 25, (20, 16, 16, 1)), 0, 255)
    alone = [len(np.unique(near_duplicates(pixels[[k, k + 20]]))) == 1 for k in range(20)]
    groups = near_duplicates(pixels)
    assert alone == (groups[:20] == groups[20:]).tolist()


def test_near_duplicates_join_groups_given_beforehand():
    rng = np.random.default_rng(6)
    pixels = rng.integers(0, 256, (6, 16, 16, 1), np.uint8)
    pixels[4] = pixels[1]
    groups = near_duplicates(pixels, np.array([7, 7, 8, 9, 10, 11]))
    assert groups.tolist() == [0, 0, 1, 2, 0, 3]


@pytest.mark.parametrize("kinds", [4000, 2])
def test_few_of_the_pairs_are_compared(kinds):
    """4,000 images, all different or noisy copies of two: 8 million pairs."""
    rng = np.random.default_rng(7)
    coarse = rng.integers(0, 256, (kinds, 4, 4, 1))[np.arange(4000) % kinds]
    pixels = np.repeat(np.repeat(coarse, 4, axis=1), 4, axis=2)
    pixels = np.clip(pixels + rng.integers(-2, 3, (4000, 16, 16, 1)), 0, 255).astype(np.uint8)
    compared = 0
    compare = alike.Alike.__call__

    def counted(self, i, j):
        nonlocal compared
        compared += len(i)
        return compare(self, i, j)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alike.Alike, "__call__", counted)
        groups = near_duplicates(pixels)
    assert len(np.unique(groups)) == kinds
    assert compared < 0.02 * 4000 * 3999 / 2
