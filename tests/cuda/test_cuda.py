"""What runs on a CPU runs on CUDA and gives the same: every running method and what it is made of.

    pytest -m cuda tests/cuda                  on a machine with a GPU; elsewhere nothing is run

Methods, solvers, backbones, adaptations and encoders are those that the registry and the catalogue
hold, so that what another package adds is checked too where it is installed. Every term is some
running method's (tests/unit/test_catalogue.py).

Tolerances: float32 without TF32 on both sides differs by the order of sums alone. A denoising
step's loss then agrees to 1e-4 of itself; a weight after three AdamW updates to a few per cent of
the three steps that it took, since AdamW divides a gradient by its own size and so lends
rounding of tiny gradients the size of a step. bfloat16 has 8 bits: losses agree to 3 %.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from kurabe import registry
from kurabe.adaptations import attach
from kurabe.data import ImageSet, split
from kurabe.diffusion import SCHEDULES, sample
from kurabe.encoders import load_encoder
from kurabe.methods import Method, catalogue, choices_of
from kurabe.recipe import Budget, DataSettings, Network, Optimiser, Recipe, Where
from kurabe.records import RunFolder
from kurabe.training import train
from kurabe.training.loop import update
from kurabe.training.model import make_denoiser, start_model
from kurabe.training.run import Run, prepare

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]
SMALL = Network(patch=2, width=48, depth=4, heads=3, decoder=1, refine=8)
SIZE, BATCH = 16, 64
FLOAT32 = "float32"


def running() -> list[Method]:
    """Every method of the catalogue that can run and trains something."""
    return [m for m in catalogue().values() if m.choices is not None and m.choices.trains]


@pytest.fixture(autouse=True)
def _exact_products() -> Iterator[None]:
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.use_deterministic_algorithms(False)


def images() -> ImageSet:
    """Coarse patterns: 96 colour images of 16×16."""
    small = np.random.default_rng(0).integers(0, 256, (96, 4, 4, 3), np.uint8)
    pixels = small.repeat(4, 1).repeat(4, 2)
    return ImageSet("patterns", pixels, tuple(map(str, range(96))), np.arange(96))


def recipe(method: str, device: str, dtype: str = FLOAT32, **more: Any) -> Recipe:
    choices = choices_of(next(m for m in running() if m.id == method))
    return Recipe(
        method=method,
        choices=choices,
        data=DataSettings(source="patterns"),
        budget=Budget(images=4 * BATCH),
        network=SMALL,
        optimiser=Optimiser(batch=BATCH, lr=1e-3, held_out_share=1.0),
        where=Where.model_validate({"device": device, "dtype": dtype}),
        **more,
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run from scratch on the CPU that others start from."""
    folder = tmp_path_factory.mktemp("base")
    settings = recipe("ddpm", "cpu")
    run = RunFolder(folder).create(settings.to_toml(), {"id": "base"})
    train(settings, images(), split(images(), 0), run)
    return folder


def started(method: Method, device: str, base: Path, folder: Path, dtype: str = FLOAT32) -> Run:
    assert method.choices is not None
    more = {"base": str(base)} if method.choices.start == "base" else {}
    settings = recipe(method.id, device, dtype, **more)
    model = start_model(settings, SIZE, 3)
    return prepare(
        settings, model, images(), split(images(), 0), RunFolder(folder), lambda line: None
    )


def losses(run: Run, updates: int) -> list[dict[str, float]]:
    """Each term's loss in so many updates."""
    run.model.denoiser.train()
    told = (update(run)[0] for _ in range(updates))
    return [{name: float(value) for name, value in line.items()} for line in told]


@pytest.mark.parametrize("method", running(), ids=lambda method: method.id)
def test_a_method_trains_on_cuda_as_on_the_cpu(method: Method, base: Path, tmp_path: Path) -> None:
    """The same weights, images, noise and times; so the same losses, update by update."""
    there, here = (started(method, device, base, tmp_path / device) for device in ("cuda", "cpu"))
    for name, value in here.training.named.items():
        torch.testing.assert_close(there.training.named[name].cpu(), value)
    before = {name: value.detach().clone() for name, value in here.training.named.items()}
    for on_cuda, on_cpu in zip(losses(there, 3), losses(here, 3), strict=True):
        assert on_cuda == pytest.approx(on_cpu, rel=1e-3, abs=1e-5)
    for name, value in here.training.named.items():
        moved = (value - before[name]).norm()
        apart = (there.training.named[name].cpu() - value).norm()
        assert apart <= 0.1 * moved + 1e-6, name


@pytest.mark.parametrize("method", running(), ids=lambda method: method.id)
def test_bfloat16_gives_nearly_the_same_losses(method: Method, base: Path, tmp_path: Path) -> None:
    narrow, wide = (
        losses(started(method, "cuda", base, tmp_path / dtype, dtype), 1)[0]
        for dtype in ("bfloat16", FLOAT32)
    )
    assert narrow == pytest.approx(wide, rel=0.03, abs=0.01)


@pytest.mark.parametrize("method", running(), ids=lambda method: method.id)
def test_two_updates_and_two_after_a_break_are_four(
    method: Method, base: Path, tmp_path: Path
) -> None:
    """The state written after two updates, read by another run, goes on as if nothing had been."""
    whole, first, second = (
        started(method, "cuda", base, tmp_path / name) for name in ("whole", "first", "second")
    )
    expected = losses(whole, 4)[2:]
    losses(first, 2)
    first.training.save(tmp_path / "state.safetensors")
    second.training.load(tmp_path / "state.safetensors")
    assert second.training.progress.images_seen == 2 * BATCH
    assert losses(second, 2) == [pytest.approx(line, rel=1e-5, abs=1e-7) for line in expected]


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
@pytest.mark.parametrize("solver", sorted(registry.ideas("solvers")))
def test_a_solver_draws_on_cuda_as_on_the_cpu(solver: str, schedule: str) -> None:
    """The same starting noise and the same noise on the way give the same images to 1e-3."""
    drawn = []
    for device in ("cuda", "cpu"):
        torch.manual_seed(0)
        denoiser = make_denoiser(SMALL.model_copy(update={"schedule": schedule}), SIZE, 3)
        with torch.inference_mode():
            drawn.append(sample(denoiser.to(device).eval(), range(4), (3, SIZE, SIZE), solver, 8))
    torch.testing.assert_close(drawn[0].cpu(), drawn[1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", registry.ideas("backbones"))
def test_a_backbone_gives_on_cuda_what_it_gives_on_the_cpu(kind: str) -> None:
    """Prediction and features of every layer, float32, to 1e-4."""
    settings = registry.look_up("backbones", kind).settings
    try:
        network = SMALL if settings is None else settings()
    except ValidationError:
        pytest.skip(f"{kind} has no network by default")
    drawn = torch.Generator().manual_seed(3)
    x, t = torch.randn(8, 3, SIZE, SIZE, generator=drawn), torch.linspace(0.1, 0.9, 8)
    found = []
    for device in ("cuda", "cpu"):
        torch.manual_seed(0)
        backbone = make_denoiser(network, SIZE, 3).backbone
        for parameter in backbone.parameters():
            torch.nn.init.normal_(parameter, std=0.05)
        backbone.to(device).eval()
        with torch.inference_mode():
            found.append(backbone(x.to(device), t.to(device), layers=backbone.feature_layers))
    on_cuda, on_cpu = found
    torch.testing.assert_close(on_cuda.prediction.cpu(), on_cpu.prediction, rtol=1e-4, atol=1e-4)
    for name in on_cpu.features:
        features = on_cuda.features[name].cpu()
        torch.testing.assert_close(features, on_cpu.features[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", registry.ideas("adaptations"))
def test_an_adaptation_on_cuda_starts_as_its_base_and_merges(kind: str) -> None:
    """Bit for bit before anything trains; after a change, merging moves the output by rounding."""
    settings = registry.look_up("adaptations", kind).settings
    assert settings is not None
    torch.manual_seed(0)
    backbone = make_denoiser(SMALL, SIZE, 3).backbone
    for parameter in backbone.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    backbone.to("cuda").eval()
    x, t = torch.randn(8, 3, SIZE, SIZE, device="cuda"), torch.linspace(0.1, 0.9, 8, device="cuda")
    with torch.no_grad():
        before = backbone(x, t).prediction
        adaptation = attach(backbone, settings())
        # What an adaptation adds is made on the CPU until the whole is moved, as a run does.
        backbone.to("cuda")
        assert torch.equal(backbone(x, t).prediction, before)
        for parameter in adaptation.parameters:
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
        changed = backbone(x, t).prediction
        assert torch.equal(changed, before) != settings.trains
        adaptation.merge()
        torch.testing.assert_close(backbone(x, t).prediction, changed, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What stands behind an encoder's name where it needs a model: one of random weights."""
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("vit")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    ViTModel(ViTConfig(**sizes, intermediate_size=64, image_size=32, patch_size=8)).save_pretrained(
        folder
    )
    (folder / "preprocessor_config.json").write_text('{"size": {"height": 32, "width": 32}}')
    return {"transformers": f":{folder}"}


@pytest.mark.parametrize("kind", registry.ideas("encoders"))
def test_features_of_an_encoder_are_the_same(kind: str, behind: dict[str, str]) -> None:
    """float32 products in another order: within 1e-3 of a feature vector's length."""
    pixels = images().pixels[:8]
    name = kind + behind.get(kind, "")
    on_cuda, on_cpu = (
        load_encoder(name, size=SIZE, channels=3, device=device).encode(pixels)
        for device in ("cuda", "cpu")
    )
    apart = np.linalg.norm(on_cuda - on_cpu, axis=1) / np.linalg.norm(on_cpu, axis=1)
    assert apart.max() < 1e-3
