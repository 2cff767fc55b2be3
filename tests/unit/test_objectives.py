"""The terms: NT-Xent and masking against their formulae, and what each term may see."""

import math
from typing import Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor

from kurabe.adaptations.full import Full
from kurabe.backbones import PatchTransformer
from kurabe.diffusion import SCHEDULES, NetworkDenoiser
from kurabe.errors import UserError
from kurabe.methods.choices import Choices
from kurabe.objectives.contrastive import Contrastive
from kurabe.objectives.contrastive.term import nt_xent
from kurabe.objectives.denoising import Denoising
from kurabe.objectives.dispersive import Dispersive, dispersion
from kurabe.objectives.masked import Masked
from kurabe.objectives.masked.histograms import oriented_gradients
from kurabe.objectives.masked.term import normalised_patches, patch_histograms
from kurabe.objectives.objective import Objective, make_objective
from kurabe.objectives.term import Batch, Stream
from kurabe.training.batches import Source


def objective(*terms: Denoising | Contrastive | Masked) -> Objective:
    torch.manual_seed(0)
    network = PatchTransformer(8, 1, patch=2, width=32, depth=4, heads=2, decoder=1)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    denoiser = NetworkDenoiser(network, SCHEDULES["cosine"], "v")
    return make_objective(Choices(start="random", adaptation=Full(), objective=terms), denoiser)


def source(seed: int = 0) -> Source:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), dtype=np.uint8)
    return Source(pixels, seed, 16, "cpu")


def nt_xent_by_hand(z: Tensor, temperature: float) -> Tensor:
    """Chen et al. 2020, equation 1, written as it stands there."""
    s = F.cosine_similarity(z[:, None], z[None], dim=-1)
    losses = []
    for i in range(len(z)):
        j = i + 1 if i % 2 == 0 else i - 1
        below = sum(math.exp(s[i, k] / temperature) for k in range(len(z)) if k != i)
        losses.append(-math.log(math.exp(s[i, j] / temperature) / below))
    return torch.tensor(losses)


def test_nt_xent_is_its_equation() -> None:
    z = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(nt_xent(z, 4, 0.3), nt_xent_by_hand(z, 0.3))


def test_comparison_batches_do_not_see_each_other() -> None:
    z = torch.randn(8, 5, generator=torch.Generator().manual_seed(1))
    parts = torch.cat([nt_xent_by_hand(z[:4], 0.2), nt_xent_by_hand(z[4:], 0.2)])
    torch.testing.assert_close(nt_xent(z, 2, 0.2), parts)


def test_nt_xent_of_identical_views_and_of_orthogonal_pairs() -> None:
    """All alike: log(2n − 1). Pairs equal, others orthogonal: log(1 + (2n − 2) e^(−1/τ))."""
    same = torch.ones(6, 4)
    torch.testing.assert_close(nt_xent(same, 3, 0.5), torch.full((6,), math.log(5)))
    pairs = torch.eye(3).repeat_interleave(2, 0)
    expected = math.log(1 + 4 * math.exp(-1 / 0.5))
    torch.testing.assert_close(nt_xent(pairs, 3, 0.5), torch.full((6,), expected))


def test_denoising_of_the_exact_prediction_is_zero_and_of_zero_is_the_target() -> None:
    objective_ = objective(Denoising(weighting="v"))
    batch = source().batch(Stream("images"), 0, 6)
    one = objective_._pass(batch, Stream("images"))
    target = objective_.denoiser.target(batch.images, batch.noise, batch.t)
    term = objective_.terms["denoising"]
    exact = term({"images": type(one)(batch, one.x_t, target, {}, one.denoiser)})
    nothing = term({"images": type(one)(batch, one.x_t, target * 0, {}, one.denoiser)})
    assert exact.abs().max() < 1e-12
    torch.testing.assert_close(nothing, target.square().flatten(1).mean(1))


def test_masked_denoising_is_the_mean_over_visible_pixels() -> None:
    objective_ = objective(Denoising(), Masked(keep=0.25))
    (stream,) = objective_.streams(0.0)
    batch = source().batch(stream, 0, 5)
    passed = objective_._pass(batch, stream)
    target = objective_.denoiser.target(batch.images, batch.noise, batch.t)
    error = objective_.denoiser.backbone.patchify((passed.prediction - target).square())
    assert batch.keep is not None and batch.keep.shape == (5, 4)
    expected = torch.stack([error[i, batch.keep[i]].mean() for i in range(5)])
    torch.testing.assert_close(objective_({"images": batch}, 0.0)["denoising"], expected)


def test_masked_reconstruction_is_the_mean_over_hidden_patches() -> None:
    objective_ = objective(Denoising(), Masked(keep=0.5))
    (stream,) = objective_.streams(0.0)
    batch = source().batch(stream, 0, 3)
    passed = objective_._pass(batch, stream)
    term, backbone = objective_.terms["masked"], objective_.denoiser.backbone
    patches = backbone.patchify(passed.x_t)
    centred = patches - patches.mean(-1, keepdim=True)
    target = centred / (patches.var(-1, keepdim=True) + 1e-6).sqrt()
    error = (term.head.read(passed.features["block-4"]) - target).square().mean(-1)
    assert batch.keep is not None
    hidden = [sorted(set(range(16)) - set(row)) for row in batch.keep.tolist()]
    expected = torch.stack([error[i, rows].mean() for i, rows in enumerate(hidden)])
    torch.testing.assert_close(term({"images": passed}), expected)


@pytest.mark.parametrize("over", ["hidden", "all"])
def test_gradients_are_the_clean_images(over: Literal["hidden", "all"]) -> None:
    """The error of a token is ‖predicted − h(x₀)‖², averaged over its cells and over the tokens."""
    objective_ = objective(Denoising(), Masked(keep=0.5, target="gradients", over=over))
    (stream,) = objective_.streams(0.0)
    batch = source().batch(stream, 0, 3)
    passed = objective_._pass(batch, stream)
    head = objective_.terms["masked"].head
    tokens = passed.features["block-4"]
    predicted = F.linear(F.layer_norm(tokens, (32,)), head.read.weight, head.read.bias)
    # Patches of 2 × 2 pixels: four cells of one pixel, of which the image has 8 in a row.
    cells = oriented_gradients(batch.images, 1).reshape(3, 4, 2, 4, 2, 9)
    target = cells.permute(0, 1, 3, 5, 2, 4).reshape(3, 16, 36)
    error = (predicted - target).square().sum(-1) / 4
    assert batch.keep is not None
    asked = [
        [i for i in range(16) if over == "all" or i not in kept] for kept in batch.keep.tolist()
    ]
    expected = torch.stack([error[i, rows].mean() for i, rows in enumerate(asked)])
    torch.testing.assert_close(objective_({"images": batch}, 0.0)["masked"], expected)


def test_an_odd_patch_has_one_cell() -> None:
    images = 2 * torch.rand(2, 1, 9, 9, generator=torch.Generator().manual_seed(0)) - 1
    whole = patch_histograms(images, 3, 3)
    torch.testing.assert_close(whole, oriented_gradients(images, 3))
    network = PatchTransformer(9, 1, patch=3, width=12, depth=2, heads=2)
    denoiser = NetworkDenoiser(network, SCHEDULES["cosine"], "v")
    choices = Choices(
        start="random", adaptation=Full(), objective=(Denoising(), Masked(target="gradients"))
    )
    assert make_objective(choices, denoiser).terms["masked"].head.read.out_features == 9


def test_patches_are_normalised_to_mean_0_and_variance_1() -> None:
    patches = normalised_patches(torch.randn(2, 3, 48, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(patches.mean(-1), torch.zeros(2, 3), atol=1e-6, rtol=0)
    torch.testing.assert_close(patches.var(-1), torch.ones(2, 3), atol=1e-4, rtol=0)


def test_masking_ends_for_the_last_stretch() -> None:
    objective_ = objective(Denoising(), Masked(keep=0.5, unmask_share=0.1))
    keeps = [objective_.streams(p)[0].keep for p in (0.0, 0.89, 0.9, 1.0)]
    assert keeps == [0.5, 0.5, 1.0, 1.0]
    batch = source().batch(objective_.streams(0.95)[0], 0, 4)
    assert objective_({"images": batch}, 0.95).keys() == {"denoising"}


def test_views_are_noised_at_low_noise_and_at_times_of_their_own() -> None:
    """log-SNR of the views ≥ 1; a view's time says nothing of its partner's (|r| < 3/√n)."""
    objective_ = objective(Denoising(), Contrastive(comparison_batch=4, min_log_snr=1.0))
    views = next(s for s in objective_.streams(0.0) if s.name == "views")
    t = source().batch(views, 0, 2000).t.reshape(-1, 2)
    assert SCHEDULES["cosine"].log_snr(t).min() >= 1 - 1e-4
    correlation = torch.corrcoef(t.T)[0, 1]
    assert abs(float(correlation)) < 3 / 2000**0.5


def test_cells_finer_than_tokens_are_refused() -> None:
    objective(Denoising(), Contrastive(grid=4))
    with pytest.raises(UserError, match="5×5 cells of 4×4 tokens; grid may be 4 at most"):
        objective(Denoising(), Contrastive(grid=5))


def test_t_alone_cannot_solve_the_contrastive_term() -> None:
    """Features that are functions of t alone do no better than chance, log(2n − 1) at least.

    With one time shared by both views the same features would solve it (loss near 0).
    """
    objective_ = objective(Denoising(), Contrastive(comparison_batch=64, temperature=0.1))
    views = next(s for s in objective_.streams(0.0) if s.name == "views")
    t = source().batch(views, 0, 1024).t
    angles = torch.pi * t / views.latest
    only_t = torch.stack([angles.cos(), angles.sin()], dim=-1)
    shared = only_t[::2].repeat_interleave(2, 0)
    chance = math.log(127)
    assert nt_xent(only_t, 64, 0.01).mean() > chance
    assert nt_xent(shared, 64, 1e-4).mean() < 0.5 * chance


def test_streams_of_one_name_are_joined_or_refused() -> None:
    one = Stream("images", layers=("a",), keep=0.5)
    joined = one.join(Stream("images", layers=("b",), together=4))
    assert joined == Stream("images", layers=("a", "b"), keep=0.5, together=4)
    with pytest.raises(ValueError, match="different streams named 'images'"):
        one.join(Stream("images", latest=0.5))


def test_a_term_that_asks_for_plain_images_takes_the_views_of_another() -> None:
    plain, flipped = Stream("images", predicts=True), Stream("images", views=2, policy="flip")
    assert plain.join(flipped) == flipped.join(plain) == flipped
    with pytest.raises(ValueError, match="different streams named 'images'"):
        flipped.join(Stream("images", views=2, policy="crop"))
    with pytest.raises(ValueError, match="different streams named 'images'"):
        Stream("images", policy="crop").join(Stream("images", policy="flip"))


def test_at_a_share_of_one_every_view_is_denoised_and_compared() -> None:
    """One stream, over all times; each loss is that of its term alone on the same rows."""
    term = Contrastive(comparison_batch=4, share=1, views="none", temperature=0.2)
    objective_ = objective(Denoising(), term)
    (stream,) = objective_.streams(0.0)
    assert (stream.views, stream.earliest, stream.latest, stream.predicts) == (2, 0.0, 1.0, True)
    batch = source().batch(stream, 0, 4)
    assert torch.equal(batch.images[::2], batch.images[1::2])
    assert not torch.equal(batch.noise[::2], batch.noise[1::2])
    losses = objective_({"images": batch}, 0.0)
    alone = objective(Denoising())({"images": batch}, 0.0)["denoising"]
    torch.testing.assert_close(losses["denoising"], alone)
    tokens = objective_._pass(batch, stream).features[objective_.terms["contrastive"].layer]
    projected = objective_.terms["contrastive"].projection(tokens.mean(1)).detach()
    torch.testing.assert_close(
        losses["contrastive"], nt_xent_by_hand(projected, 0.2), rtol=1e-4, atol=1e-5
    )


def test_views_are_compared_by_the_cells_of_their_tokens() -> None:
    """With a grid of 2 on 4 × 4 tokens: NT-Xent on the four quarters' means, side by side."""
    objective_ = objective(Denoising(), Contrastive(comparison_batch=4, grid=2, depth=0.5))
    term = objective_.terms["contrastive"]
    views = next(s for s in objective_.streams(0.0) if s.name == "views")
    batch = source().batch(views, 0, 4)
    seen = objective_._pass(batch, views)
    tokens = seen.features["block-2"].reshape(8, 4, 4, -1)
    quarters = [tokens[:, a : a + 2, b : b + 2].mean((1, 2)) for a in (0, 2) for b in (0, 2)]
    projected = term.projection(torch.cat(quarters, dim=1)).detach()
    expected = nt_xent_by_hand(projected, 0.2)
    torch.testing.assert_close(term({"views": seen}), expected, rtol=1e-4, atol=1e-5)


def test_what_no_term_reads_is_not_computed() -> None:
    """A last block that would give NaN harms neither the views' features nor their loss."""
    objective_ = objective(Denoising(), Contrastive(comparison_batch=4, depth=0.5))
    batches = {s.name: source().batch(s, 0, 4) for s in objective_.streams(0.0)}
    before = objective_(batches, 0.0)["contrastive"]
    torch.nn.init.constant_(objective_.denoiser.backbone.blocks[-1].mlp_in.weight, torch.nan)
    after = objective_(batches, 0.0)
    assert torch.equal(after["contrastive"], before)
    assert after["denoising"].isnan().all()


def test_gradients_reach_the_network_from_every_term() -> None:
    objective_ = objective(Denoising(), Contrastive(comparison_batch=4))
    batches = {s.name: source().batch(s, 0, 8) for s in objective_.streams(0.0)}
    for name, losses in objective_(batches, 0.0).items():
        objective_.zero_grad()
        losses.mean().backward(retain_graph=True)
        gradient = objective_.denoiser.backbone.embed.weight.grad
        assert gradient is not None and gradient.abs().sum() > 0, name


def test_a_batch_is_a_function_of_seed_and_position() -> None:
    stream = Stream("images", keep=0.5)
    whole, part = source().batch(stream, 0, 12), source().batch(stream, 5, 3)
    for name in ("images", "noise", "t", "keep"):
        assert torch.equal(getattr(whole, name)[5:8], getattr(part, name))
    assert not torch.equal(source(1).batch(stream, 0, 12).noise, whole.noise)


def test_an_epoch_shows_every_image_once() -> None:
    indices = source().indices(Stream("images"), 0, 80)
    assert sorted(indices[:40]) == sorted(indices[40:]) == list(range(40))
    assert indices[:40] != indices[40:]


def test_times_are_spread_evenly() -> None:
    """Of 200 times in [0, 1] each tenth holds 20 ± 1: far more even than chance (± 4)."""
    t = source().batch(Stream("images"), 1000, 200).t
    counts = torch.histc(t, bins=10, min=0, max=1)
    assert (counts - 20).abs().max() <= 1


def test_batch_holds_x0_in_minus_one_to_one() -> None:
    pixels = np.array([[[[0], [255]], [[51], [204]]]], dtype=np.uint8)
    batch: Batch = Source(pixels, 0, 1, "cpu").batch(Stream("images"), 0, 1)
    expected = torch.tensor([[[[-1.0, 1.0], [-0.6, 0.6]]]])
    torch.testing.assert_close(batch.images, expected)


def official_dispersion(z: Tensor, temperature: float) -> Tensor:
    """As Wang & He's own code has it, with the temperature that is 1 there: pairs from pdist."""
    apart = F.pdist(z).square() / (z.shape[1] * temperature)
    return torch.exp(-torch.cat([apart, apart, apart.new_zeros(len(z))])).mean().log()


def test_dispersion_is_the_papers_in_each_comparison_batch() -> None:
    z = torch.randn(3, 8, 20, generator=torch.Generator().manual_seed(0), requires_grad=True)
    ours = dispersion(z, 0.5)
    theirs = torch.stack([official_dispersion(group, 0.5) for group in z])
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(
        torch.autograd.grad(ours.sum(), z)[0], torch.autograd.grad(theirs.sum(), z)[0]
    )


def test_dispersion_lies_between_its_floor_and_nothing() -> None:
    """All alike: 0. Far apart: the diagonal alone is left, −log B."""
    assert dispersion(torch.ones(1, 6, 4), 0.5).item() == pytest.approx(0, abs=1e-6)
    far = 1000 * torch.eye(6).unsqueeze(0)
    assert dispersion(far, 0.5).item() == pytest.approx(-math.log(6))


def test_the_dispersive_term_pushes_features_apart_where_it_says() -> None:
    """One comparison batch's loss is all its images'; it is that of the layer's flat features."""
    objective_ = objective(Denoising(), Dispersive(comparison_batch=4, depth=0.5))
    [stream] = objective_.streams(0.0)
    assert (stream.layers, stream.together) == (("block-2",), 4)
    batch = source().batch(stream, 0, 8)
    found = objective_({"images": batch}, 0.0)["dispersive"]
    features = objective_._pass(batch, stream).features["block-2"].flatten(1)
    for half in (slice(4), slice(4, 8)):
        expected = official_dispersion(features[half], 0.5)
        torch.testing.assert_close(found[half], expected.expand(4))


def test_the_dispersive_term_refuses_hidden_tokens() -> None:
    with pytest.raises(ValidationError, match="tokens are hidden cannot be compared"):
        objective(Denoising(), Dispersive(comparison_batch=4), Masked())
