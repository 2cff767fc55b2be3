"""Histograms of oriented gradients: closed forms and the symmetries that define them."""

import math

import pytest
import torch

from kurabe.objectives.masked.histograms import FLAT, ORIENTATIONS, oriented_gradients


def random_images() -> torch.Tensor:
    return 2 * torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)) - 1


@pytest.mark.parametrize("degrees", [0, 20, 33, 90, 135, 170, 200])
def test_a_ramp_votes_for_the_two_orientations_beside_its_own(degrees: float) -> None:
    """I = ½ (a x + b y) has the gradient (a, b)/2 everywhere, twice that as a difference in 2 px.

    On images in [0, 1] a slope of .04 gives the votes .04 (1 − f) and .04 f.
    """
    angle = math.radians(degrees)
    y, x = torch.meshgrid(torch.arange(12.0), torch.arange(12.0), indexing="ij")
    ramp = 0.04 * (math.cos(angle) * x + math.sin(angle) * y)
    middle = oriented_gradients(ramp.expand(1, 1, -1, -1), 4)[0, 4]
    position = (angle % math.pi) / math.pi * ORIENTATIONS
    part = position - math.floor(position)
    expected = torch.zeros(ORIENTATIONS)
    expected[int(position) % ORIENTATIONS] = 0.04 * (1 - part)
    expected[(int(position) + 1) % ORIENTATIONS] += 0.04 * part
    expected /= expected.norm() + FLAT
    torch.testing.assert_close(middle, expected, atol=2e-5, rtol=0)


def test_negatives_have_the_same_histograms() -> None:
    images = random_images()
    torch.testing.assert_close(
        oriented_gradients(-images, 4), oriented_gradients(images, 4), atol=1e-5, rtol=0
    )


def test_half_the_contrast_leaves_the_direction_and_hardly_the_length() -> None:
    """Of votes of length n the histogram has n / (n + .01), at half the contrast n / (n + .02)."""
    images = random_images()
    full, dim = oriented_gradients(images, 4), oriented_gradients(0.5 * images - 0.3, 4)
    length = full.norm(dim=-1, keepdim=True)
    votes = FLAT * length / (1 - length)
    torch.testing.assert_close(dim, full / length * votes / (votes + 2 * FLAT))


def test_the_mirror_along_the_diagonal_exchanges_rows_and_columns() -> None:
    """Gradient (a, b) becomes (b, a): cells are transposed, of four orientations 1 and 3 remain
    and 0 and 2 change places."""
    images = random_images()
    there = oriented_gradients(images, 4, 4).reshape(3, 2, 2, 4)
    mirrored = oriented_gradients(images.transpose(2, 3), 4, 4).reshape(3, 2, 2, 4)
    exchanged = mirrored.transpose(1, 2)[..., [2, 1, 0, 3]]
    torch.testing.assert_close(exchanged, there, atol=1e-5, rtol=0)


def test_a_flat_image_has_no_orientation_and_an_edge_has_length_one() -> None:
    flat = torch.full((1, 3, 8, 8), 0.3)
    assert oriented_gradients(flat, 4).abs().max() == 0
    edge = torch.ones(1, 1, 8, 8)
    edge[..., 4:] = -1
    # Differences of 1 in two of a cell's four columns: votes of a half on average.
    length = oriented_gradients(edge, 8).norm(dim=-1)
    torch.testing.assert_close(length, torch.full((1, 1), 0.25 / (0.25 + FLAT)))


def test_the_strongest_channel_votes() -> None:
    weak, strong = 0.3 * random_images(), random_images().transpose(2, 3)
    both = torch.cat([0 * weak, strong, 0 * weak], 1)
    torch.testing.assert_close(oriented_gradients(both, 4), oriented_gradients(strong, 4))
