"""Times by token: as one time where all are equal, each token by its own elsewhere."""

import numpy as np
import pytest
import torch
from torch import Tensor

from kurabe.adaptations.full import Full
from kurabe.backbones import PatchTransformer
from kurabe.backbones.diffusers_unet2d.network import UNet
from kurabe.diffusion import SCHEDULES, NetworkDenoiser
from kurabe.errors import UserError
from kurabe.methods.choices import Choices
from kurabe.objectives.denoising import Denoising
from kurabe.objectives.denoising.term import DenoisingTerm, errors
from kurabe.objectives.objective import Objective, make_objective
from kurabe.objectives.self_alignment import SelfAlignment
from kurabe.objectives.term import Batch, Pass, Stream, StreamTerm, rising
from kurabe.training.batches import Source
from kurabe.training.ema import EMA
from kurabe.training.references import refer

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), dtype=np.uint8)


def source() -> Source:
    return Source(PIXELS, 0, 16, "cpu")


def denoiser(classes: int = 0) -> NetworkDenoiser:
    torch.manual_seed(0)
    network = PatchTransformer(8, 1, patch=2, width=32, depth=3, heads=2)
    if classes:
        network.take_classes(classes)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return NetworkDenoiser(network, SCHEDULES["cosine"], "v")


def of_error(images: Pass) -> Tensor:
    return errors(images, "v")


def forcing(levels: int) -> Objective:
    """Denoising of images whose tokens have one of several times (Chen et al. 2024, "Diffusion
    forcing", have one for each token)."""
    own = denoiser()
    term = StreamTerm(1.0, Stream("images", levels=levels), of_error)
    return Objective(own, {"denoising": DenoisingTerm(Denoising(), own), "forcing": term})


@pytest.mark.parametrize("keep", [None, 7])
@pytest.mark.parametrize("classes", [0, 3])
def test_equal_times_are_one_time(keep: int | None, classes: int) -> None:
    """To float32's rounding: a product of more rows may sum in another order."""
    own = denoiser(classes)
    x, t = torch.randn(5, 1, 8, 8), torch.linspace(0.05, 0.95, 5)
    kept = None if keep is None else torch.stack([torch.randperm(16)[:keep].sort()[0]] * 5)
    told = torch.tensor([0, 1, 2, 3, 1]) if classes else None
    everywhere = t[:, None, None].expand(5, 4, 4)
    layers = own.backbone.feature_layers
    with torch.no_grad():
        one = own.predict(x, t, told, kept, layers)
        many = own.predict(x, everywhere, told, kept, layers)
        torch.testing.assert_close(many.prediction, one.prediction, rtol=1e-5, atol=1e-5)
        for name in layers:
            torch.testing.assert_close(
                many.features[name], one.features[name], rtol=1e-5, atol=1e-5
            )
        found = own.features(x, everywhere, told, layers)
        torch.testing.assert_close(found[layers[-1]], own.features(x, t, told, layers)[layers[-1]])


def test_noise_and_loss_of_equal_times_are_those_of_one_time_bit_for_bit() -> None:
    own = denoiser()
    batch = source().batch(Stream("images"), 0, 6)
    everywhere = batch.t[:, None, None].expand(6, 4, 4)
    one, many = (own.noisy(batch.images, batch.noise, t) for t in (batch.t, everywhere))
    assert torch.equal(one, many)
    prediction = torch.randn(6, 1, 8, 8)
    assert torch.equal(
        *(own.loss(prediction, batch.images, batch.noise, t, "p2") for t in (batch.t, everywhere))
    )
    assert torch.equal(*(own.to_x0(prediction, one, t) for t in (batch.t, everywhere)))


def test_each_token_is_noised_and_weighed_by_its_own_time() -> None:
    """Pixel (row, column) belongs to the token at (row // 2, column // 2)."""
    own = denoiser()
    t = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(3))
    x0, noise, prediction = torch.randn(3, 2, 1, 8, 8)
    x_t, loss = own.noisy(x0, noise, t), own.loss(prediction, x0, noise, t, "v")
    for n, row, column in [(0, 0, 0), (1, 3, 6), (0, 7, 2)]:
        place = slice(n, n + 1), 0, row, column
        alpha, sigma = own.schedule(t[n : n + 1, row // 2, column // 2])
        torch.testing.assert_close(x_t[place], alpha * x0[place] + sigma * noise[place])
        v = alpha * noise[place] - sigma * x0[place]
        torch.testing.assert_close(loss[place], (prediction[place] - v).square())


def test_a_token_is_told_its_own_time() -> None:
    """Without attention's and the convolution's part a token's features hang on its time alone."""
    own = denoiser()
    for block in own.backbone.blocks:
        torch.nn.init.zeros_(block.neighbours.weight)
        torch.nn.init.zeros_(block.attention_out.weight)
    x, t = torch.randn(1, 1, 8, 8), torch.full((1, 4, 4), 0.3)
    other = t.clone()
    other[0, 1, 2] = 0.8
    with torch.no_grad():
        before, after = (own.features(x, of, layers=("block-3",))["block-3"] for of in (t, other))
    moved = (before != after).any(-1)[0]
    assert moved.nonzero().flatten().tolist() == [1 * 4 + 2]


@pytest.mark.parametrize("views", [1, 2])
def test_levels_are_drawn_for_each_image_and_tokens_choose_among_them_evenly(views: int) -> None:
    stream = Stream("a", levels=2, views=views, latest=0.5, law=rising)
    t = source().batch(stream, 0, 400).t
    assert t.shape == (400 * views, 4, 4) and t.dtype == torch.float32
    levels = [row.unique() for row in t.flatten(1)]
    # All 16 tokens on one side: 2⁻¹⁵ of images.
    assert {len(row) for row in levels} <= {1, 2} and sum(len(row) == 2 for row in levels) > 395
    first = source().batch(Stream("a", views=views, latest=0.5, law=rising), 0, 400).t
    share = (t == first[:, None, None]).float().mean().item()
    assert share == pytest.approx(0.5, abs=4 * 0.5 / (400 * views * 16) ** 0.5)
    # The rising law's mean, two thirds of the range, to four standard errors of its spread.
    assert t.mean().item() == pytest.approx(1 / 3, abs=4 * 0.5 / 18**0.5 / 400**0.5)
    later = source().batch(stream, 100, 50).t
    assert torch.equal(later, t[100 * views : 150 * views])


def test_a_term_may_ask_for_levels_and_all_terms_of_the_stream_see_them() -> None:
    own = forcing(2)
    (stream,) = own.streams(0.0)
    assert stream.levels == 2
    batch = source().batch(stream, 0, 6)
    losses = own({"images": batch}, 0.0)
    assert torch.equal(losses["denoising"], losses["forcing"])
    x_t = own.denoiser.noisy(batch.images, batch.noise, batch.t)
    predicted = own.denoiser.predict(x_t, batch.t).prediction
    error = own.denoiser.loss(predicted, batch.images, batch.noise, batch.t, "v")
    torch.testing.assert_close(losses["forcing"], error.flatten(1).mean(1))
    losses["forcing"].mean().backward()
    assert own.denoiser.backbone.time.layers[0].weight.grad.abs().max() > 0


def test_a_teacher_sees_every_token_at_its_own_cleaner_time() -> None:
    """As Self-Flow pairs them: a student on two noise levels, a teacher on less noise."""
    own = denoiser()
    choices = Choices(start="random", adaptation=Full(), objective=(Denoising(), SelfAlignment()))
    made = make_objective(choices, own)
    refer(made, EMA(dict(own.backbone.state_dict(keep_vars=True)), 0.07))
    stream = Stream("images", levels=2).join(made.streams(0.0)[0])
    batch = source().batch(stream, 0, 6)
    assert batch.gap is not None
    expected = torch.stack(
        [(t - gap).clamp(min=0) for t, gap in zip(batch.t, batch.gap, strict=True)]
    )
    assert torch.equal(batch.earlier, expected) and batch.earlier.shape == (6, 4, 4)
    assert made({"images": batch}, 0.0)["self-alignment"].isfinite().all()


def test_another_network_refuses_in_one_sentence() -> None:
    from diffusers import UNet2DModel

    blocks = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",)}
    unet = UNet2DModel(8, 1, 1, block_out_channels=(8,), norm_num_groups=4, **blocks)
    own = NetworkDenoiser(UNet(unet, 1000, 1), SCHEDULES["cosine"], "v")
    asking = StreamTerm(1.0, Stream("images", levels=2), of_error)
    with pytest.raises(UserError) as told:
        Objective(own, {"forcing": asking}).streams(0.0)
    assert str(told.value) == (
        "A term asks for several noise levels in one image, which this network cannot be told; "
        "take a network of Kurabe's own, with network.precondition = none."
    )


def test_rows_of_a_batch_keep_their_tokens_times() -> None:
    batch = source().batch(Stream("a", levels=3), 0, 6)
    rows: Batch = batch.rows(torch.tensor([4, 1]))
    assert torch.equal(rows.t, batch.t[[4, 1]])
