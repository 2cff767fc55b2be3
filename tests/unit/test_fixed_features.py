"""Features without a network: closed forms of the scattering transform, K-means patches by
scikit-learn's own distances, and HOG as its cells."""

import math

import numpy as np
import pytest
import torch

from kurabe.evaluation import fixed_features
from kurabe.evaluation.fixed_features import hog, patch_means, scattering_of
from kurabe.evaluation.scattering import ANGLES, MAPS, STRIDE, filters, scattering
from kurabe.objectives.masked.histograms import oriented_gradients

CPU = torch.device("cpu")


def waves(side: int) -> tuple[torch.Tensor, torch.Tensor]:
    low, octaves = filters((side, side), CPU)
    return low, torch.cat(octaves)


def test_a_flat_image_is_its_own_mean_and_has_no_contours() -> None:
    found = scattering(torch.full((1, 1, 32, 32), 0.7))
    assert found.shape == (1, MAPS, 8, 8) == (1, 81, 8, 8)
    torch.testing.assert_close(found[:, 0], torch.full((1, 8, 8), 0.7), atol=1e-4, rtol=0)
    assert found[:, 1:].abs().max() < 1e-4


@pytest.mark.parametrize(("rows", "columns"), [(0, 12), (6, 0), (8, 8), (-4, 10)])
def test_a_plane_wave_has_the_amplitude_of_each_wavelet_at_its_frequency(rows, columns) -> None:
    """|e^{iωx} ⋆ ψ| = |ψ̂(ω)|, constant, so S₁ is it and S₂ nothing; the cosine's two halves do not
    meet far from the axes, and beats of them are what φ leaves of 2ω."""
    side = 32
    _, octaves = filters((side, side), CPU)
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    phase = 2 * math.pi * (rows * y + columns * x) / side
    wave = torch.exp(1j * phase)
    for of in torch.cat(octaves):
        modulus = torch.fft.ifft2(torch.fft.fft2(wave) * of).abs()
        expected = of[rows, columns].abs().expand(side, side)
        torch.testing.assert_close(modulus, expected, atol=1e-4, rtol=0)


def test_wavelets_are_centred_where_they_should_be_and_have_no_mean() -> None:
    """Peaks at ¾π and ⅜π along eight angles, to a step and a half of
    the grid, since the envelope taken off moves them outwards; rotated by 90° the same filter."""
    side = 64
    low, octaves = filters((side, side), CPU)
    frequencies = torch.fft.fftfreq(side) * 2 * math.pi
    for j, octave in enumerate(octaves):
        assert octave[:, 0, 0].abs().max() < 1e-6
        for k, of in enumerate(octave):
            row, column = divmod(int(of.argmax()), side)
            place = math.hypot(frequencies[row], frequencies[column])
            angle = math.atan2(frequencies[row], frequencies[column]) % math.pi
            assert place == pytest.approx(0.75 * math.pi / 2**j, abs=3 * math.pi / side)
            apart = abs(angle - k * math.pi / ANGLES) % math.pi
            assert min(apart, math.pi - apart) < 3 * math.pi / side
        turned = octave[0].T
        torch.testing.assert_close(octave[ANGLES // 2], turned, atol=1e-5, rtol=0)
    assert low[0, 0] == low.max() == pytest.approx(1, abs=1e-4)


def test_a_shift_by_one_stride_shifts_the_maps_by_one_place() -> None:
    draw = torch.Generator().manual_seed(0)
    large = torch.rand(1, 1, 64, 64, generator=draw)
    here, there = scattering(large)[0], scattering(large.roll(STRIDE, 3))[0]
    torch.testing.assert_close(there[:, 4:-4, 5:-4], here[:, 4:-4, 4:-5], atol=2e-3, rtol=0)


def test_a_quarter_turn_turns_maps_and_angles() -> None:
    """θ goes to θ + 90° with the picture, and the places turn; odd sides keep the grid in place."""
    draw = torch.Generator().manual_seed(1)
    image = torch.rand(1, 1, 33, 33, generator=draw)
    here, turned = scattering(image)[0, 1:17], scattering(image.transpose(2, 3))[0, 1:17]
    # A mirror along the diagonal takes θ to 90° − θ.
    angles = [(ANGLES // 2 - k) % ANGLES for k in range(ANGLES)]
    expected = here.unflatten(0, (2, ANGLES))[:, angles].flatten(0, 1).transpose(1, 2)
    torch.testing.assert_close(turned[:, 2:-2, 2:-2], expected[:, 2:-2, 2:-2], atol=2e-3, rtol=0)


def test_hog_is_its_cells_row_by_row_and_odd_sides_go_on() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1), dtype=np.uint8)
    images = torch.from_numpy(pixels / 127.5 - 1).permute(0, 3, 1, 2).float()
    np.testing.assert_allclose(hog(pixels), oriented_gradients(images, 4).flatten(1), atol=1e-5)
    # 70 = 8 cells of 9 and two pixels more, that repeat the border.
    large = np.random.default_rng(1).integers(0, 256, (1, 70, 70, 3), dtype=np.uint8)
    padded = np.pad(large, ((0, 0), (0, 2), (0, 2), (0, 0)), "edge")
    assert hog(large).shape == (1, 8 * 8 * 9)
    np.testing.assert_array_equal(hog(large), hog(padded))


def test_patches_are_whitened_clustered_and_summed_by_quadrant_as_written_out(monkeypatch) -> None:
    """Numpy's own ZCA and distances to the centres that were found, patch by patch, one image."""
    from sklearn.cluster import MiniBatchKMeans

    monkeypatch.setattr(fixed_features, "CENTRES", 7)
    monkeypatch.setattr(fixed_features, "DRAWN", 600)
    train = np.random.default_rng(0).integers(0, 256, (20, 9, 9, 1), dtype=np.uint8)
    kept = []
    fit = MiniBatchKMeans.fit
    monkeypatch.setattr(MiniBatchKMeans, "fit", lambda own, x: (kept.append(own), fit(own, x))[1])
    found = patch_means(train)(train[:2])
    drawn = fixed_features._drawn_patches(train, 6).numpy().astype(np.float64)

    def normalised(patches: np.ndarray) -> np.ndarray:
        centred = patches - patches.mean(1, keepdims=True)
        return centred / np.sqrt(patches.var(1, ddof=1, keepdims=True) + 10)

    normal = normalised(drawn)
    mean = normal.mean(0)
    _, values, axes = np.linalg.svd((normal - mean) / np.sqrt(600), full_matrices=False)
    white = axes.T @ np.diag(1 / np.sqrt(values**2 + 0.1)) @ axes
    centres = kept[0].cluster_centers_
    by_place = np.zeros((4, 4, 7))
    for row in range(4):
        for column in range(4):
            patch = train[0, row : row + 6, column : column + 6, 0].reshape(1, 36).astype(float)
            far = np.linalg.norm((normalised(patch) - mean) @ white - centres, axis=1)
            by_place[row, column] = np.maximum(far.mean() - far, 0)
    quadrants = by_place.reshape(2, 2, 2, 2, 7).mean((1, 3))
    np.testing.assert_allclose(found[0].reshape(7, 2, 2), quadrants.transpose(2, 0, 1), atol=2e-4)
    np.testing.assert_array_equal(patch_means(train)(train[:2]), found)


def test_small_and_odd_images_have_features_too() -> None:
    for size in ((1, 5, 5, 1), (2, 8, 8, 3), (2, 16, 31, 1)):
        pixels = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
        for of in (hog, scattering_of(pixels)):
            found = of(pixels)
            assert len(found) == size[0] and np.isfinite(found).all() and found.dtype == np.float32
