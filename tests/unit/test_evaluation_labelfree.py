"""Label-free measures of features, against their closed forms."""

import numpy as np
import pytest
import torch

from kurabe.evaluation import labelfree


def test_alignment_of_a_known_angle():
    # Two unit vectors at angle a are √(2 − 2 cos a) apart.
    angle = 0.3
    x = np.array([[1.0, 0.0], [0.0, 2.0]])
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    ours = labelfree.alignment(x, [x @ turn, 5 * x])
    assert ours == pytest.approx((2 - 2 * np.cos(angle)) / 2, abs=1e-6)


def test_uniformity_of_orthogonal_vectors_and_of_a_sphere():
    # Orthogonal unit vectors are √2 apart, so every pair gives exp(−4).
    assert labelfree.uniformity(np.eye(6)) == pytest.approx(-4, abs=1e-6)
    assert labelfree.uniformity(np.ones((5, 3))) == pytest.approx(0, abs=1e-6)
    # On the circle E exp(−2 (2 − 2 cos φ)) = e⁻⁴ I₀(4).
    angles = 2 * np.pi * np.arange(4000) / 4000
    circle = np.stack([np.cos(angles), np.sin(angles)], 1)
    bessel = float(torch.special.i0(torch.tensor(4.0, dtype=torch.float64)))
    assert labelfree.uniformity(circle) == pytest.approx(np.log(bessel) - 4, abs=2e-3)


def test_rankme_of_known_spectra():
    rng = np.random.default_rng(0)
    u, v = (np.linalg.qr(rng.normal(size=(n, 8)))[0] for n in (50, 20))
    assert labelfree.rankme(u @ v.T) == pytest.approx(8, rel=1e-4)
    spectrum = 0.5 ** np.arange(8)
    p = spectrum / spectrum.sum()
    expected = np.exp(-(p * np.log(p)).sum())
    assert labelfree.rankme((u * spectrum) @ v.T) == pytest.approx(expected, rel=1e-4)
    assert labelfree.rankme(np.ones((30, 5))) == pytest.approx(1, rel=1e-4)


def test_own_view_recall_counts_hits():
    images = np.eye(4)
    views = np.eye(4) + 0.1
    views[3] = [1.0, 0, 0, 0.9]
    assert labelfree.own_view_recall(images, [views]) == pytest.approx(0.75)
    assert labelfree.own_view_recall(images, [views, images]) == pytest.approx(0.875)


def test_features_that_are_all_alike_find_nothing():
    assert labelfree.own_view_recall(np.ones((6, 3)), [np.ones((6, 3))]) == 0
