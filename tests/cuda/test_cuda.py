"""What runs on a CPU runs on CUDA and gives the same: every running method and what it is made of.

    pytest -m cuda tests/cuda                          where there is a GPU; elsewhere none is run
    KURABE_TEST_DEVICE=cpu pytest -m cuda tests/cuda   tries the tests themselves: CPU against CPU

Methods, solvers, optimisers, backbones, adaptations, guidances and encoders are those that the
registry and the catalogue hold, so that what another package adds is checked too where it is
installed. Every term and condition is some running method's (tests/unit/test_catalogue.py) or
comes with a folder of diffusers.

Tolerances: float32 without TF32 on both sides differs by the order of sums alone. A denoising
step's loss then agrees to 1e-4 of itself; a weight after three AdamW updates to a few per cent of
the three steps that it took, since AdamW divides a gradient by its own size and so lends
rounding of tiny gradients the size of a step. bfloat16 has 8 bits: losses agree to 3 %.
"""

import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import BaseModel, ValidationError

from kurabe import bases, registry
from kurabe.adaptations import attach
from kurabe.bases.diffusers_network import DiffusersNetwork
from kurabe.data import ImageSet, split
from kurabe.diffusion import SCHEDULES, sample
from kurabe.encoders import load_encoder
from kurabe.methods import Method, catalogue, choices_of
from kurabe.recipe import Budget, DataSettings, Network, Optimiser, Recipe, Where
from kurabe.records import RunFolder
from kurabe.runs.bases import network_of
from kurabe.training import load_model, train
from kurabe.training.conditions import classes_of
from kurabe.training.loop import update
from kurabe.training.model import make_denoiser, start_model
from kurabe.training.run import Run, prepare

sys.path.insert(0, str(Path(__file__).parent.parent / "unit"))

from diffusers_folders import SORTS

DEVICE = os.environ.get("KURABE_TEST_DEVICE", "cuda")
pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(
        DEVICE.startswith("cuda") and not torch.cuda.is_available(),
        reason="torch sees no CUDA device",
    ),
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


def images(size: int = SIZE, channels: int = 3) -> ImageSet:
    """Coarse patterns: 96 images of three classes."""
    small = np.random.default_rng(0).integers(0, 256, (96, 4, 4, channels), np.uint8)
    pixels = small.repeat(size // 4, 1).repeat(size // 4, 2)
    places = np.arange(96)
    return ImageSet("patterns", pixels, tuple(map(str, places)), places, places % 3, tuple("abc"))


def recipe(method: str, device: str, where: dict[str, Any] | None = None, **more: Any) -> Recipe:
    """A recipe of that method; `more` are other settings."""
    settings: dict[str, Any] = {
        "method": method,
        "choices": choices_of(next(m for m in running() if m.id == method)),
        "data": DataSettings(source="patterns"),
        "budget": Budget(images=4 * BATCH),
        "network": SMALL,
        "optimiser": Optimiser(batch=BATCH, lr=1e-3, held_out_share=1.0),
        "where": Where.model_validate({"device": device, **(where or {})}),
    }
    return Recipe.model_validate(settings | more)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run from scratch on the CPU that others start from."""
    folder = tmp_path_factory.mktemp("base")
    settings = recipe("ddpm", "cpu")
    run = RunFolder(folder).create(settings.to_toml(), {"id": "base"})
    train(settings, images(), split(images(), 0), run)
    return folder


def started(
    method: Method,
    device: str,
    base: Path,
    folder: Path,
    where: dict[str, Any] | None = None,
    **more: Any,
) -> Run:
    assert method.choices is not None
    if method.choices.start == "base":
        more = {"base": str(base), **more}
    return begun(recipe(method.id, device, where, **more), images(), folder)


def begun(settings: Recipe, known: ImageSet, folder: Path) -> Run:
    """The run at its very start. What a base would draw for its terms are the images themselves:
    drawn on two devices, a pixel's last step may differ."""
    parts = split(known, 0)
    model = start_model(settings, known.size, known.channels, classes_of(settings, known, parts))
    return prepare(
        settings,
        model,
        known,
        parts,
        RunFolder(folder),
        lambda line: None,
        lambda recipe, model, folder, plan: dict.fromkeys(plan.drawn, known.pixels),
    )


def check_alike(there: Run, here: Run) -> None:
    """The same start; then the same losses in three updates, and nearly the same steps."""
    for name, value in here.training.named.items():
        torch.testing.assert_close(there.training.named[name].cpu(), value)
    before = {name: value.detach().clone() for name, value in here.training.named.items()}
    for on_cuda, on_cpu in zip(losses(there, 3), losses(here, 3), strict=True):
        assert on_cuda == pytest.approx(on_cpu, rel=1e-3, abs=1e-5)
    for name, value in here.training.named.items():
        moved = (value - before[name]).norm()
        apart = (there.training.named[name].cpu() - value).norm()
        assert apart <= 0.1 * moved + 1e-6, name


def losses(run: Run, updates: int) -> list[dict[str, float]]:
    """Each term's loss in so many updates."""
    run.model.denoiser.train()
    told = (update(run)[0] for _ in range(updates))
    return [{name: float(value) for name, value in line.items()} for line in told]


@pytest.mark.parametrize("method", running(), ids=lambda method: method.id)
def test_a_method_trains_on_cuda_as_on_the_cpu(method: Method, base: Path, tmp_path: Path) -> None:
    """The same weights, images, noise and times; so the same losses, update by update."""
    check_alike(*(started(method, device, base, tmp_path / device) for device in (DEVICE, "cpu")))


@pytest.mark.parametrize("name", ["ddpm", "masked-diffusion", "sra"])
def test_gradient_checkpointing_changes_nothing_on_cuda(
    name: str, base: Path, tmp_path: Path
) -> None:
    method = next(method for method in running() if method.id == name)
    where = {"gradient_checkpointing": True}
    check_alike(
        started(method, DEVICE, base, tmp_path / "with", where),
        started(method, "cpu", base, tmp_path / "without"),
    )


@pytest.mark.parametrize("method", ["full-fine-tuning", "lora"])
@pytest.mark.parametrize("name", SORTS)
def test_a_network_of_diffusers_trains_on_cuda_as_on_the_cpu(
    name: str, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Latents, texts and all; checkpointed on CUDA, so that this is tried as well."""
    monkeypatch.setenv("KURABE_CACHE", str(tmp_path / "cache"))
    sort = SORTS[name]
    folder = str(sort.write(tmp_path / "base"))
    network = DiffusersNetwork.model_validate(network_of(bases.find(folder), sort.prompt))
    known = images(sort.size, sort.channels)
    small = Optimiser(batch=16, lr=1e-3, held_out_share=1.0)
    more = {"base": folder, "network": network, "optimiser": small}
    there, here = (
        begun(recipe(method, device, where, **more), known, tmp_path / str(place))
        for place, (device, where) in enumerate(
            ((DEVICE, {"gradient_checkpointing": True}), ("cpu", None))
        )
    )
    check_alike(there, here)


def with_optimiser(kind: str) -> Optimiser:
    alone = {"final_lr": 1, "ema_half_life": 0} if kind == "schedule-free" else {}
    settings = {"kind": kind, "batch": BATCH, "lr": 1e-3, "held_out_share": 1.0, **alone}
    return Optimiser.model_validate(settings)


PACKAGES = {"schedule-free": "schedulefree", "adamw-8bit": "bitsandbytes"}


@pytest.mark.parametrize("kind", registry.ideas("optimisers"))
def test_an_optimiser_steps_on_cuda_as_on_the_cpu_and_is_resumed(
    kind: str, base: Path, tmp_path: Path
) -> None:
    if kind in PACKAGES:
        pytest.importorskip(PACKAGES[kind])
    (method,) = (method for method in running() if method.id == "ddpm")
    settings = with_optimiser(kind)
    start = partial(started, method, base=base, optimiser=settings)
    # Moments in eight bits may fall on either side of a step of their table.
    if kind != "adamw-8bit":
        check_alike(*(start(device, folder=tmp_path / device) for device in (DEVICE, "cpu")))
    check_resumed(*(start(DEVICE, folder=tmp_path / name) for name in ("w", "f", "s")), tmp_path)


@pytest.mark.parametrize("method", running(), ids=lambda method: method.id)
def test_bfloat16_gives_nearly_the_same_losses(method: Method, base: Path, tmp_path: Path) -> None:
    narrow, wide = (
        losses(started(method, DEVICE, base, tmp_path / dtype, {"dtype": dtype}), 1)[0]
        for dtype in ("bfloat16", FLOAT32)
    )
    assert narrow == pytest.approx(wide, rel=0.03, abs=0.01)


@pytest.mark.parametrize("method", running(), ids=lambda method: method.id)
def test_two_updates_and_two_after_a_break_are_four(
    method: Method, base: Path, tmp_path: Path
) -> None:
    """The state written after two updates, read by another run, goes on as if nothing had been."""
    runs = (started(method, DEVICE, base, tmp_path / name) for name in ("whole", "first", "second"))
    check_resumed(*runs, tmp_path)


def check_resumed(whole: Run, first: Run, second: Run, folder: Path) -> None:
    expected = losses(whole, 4)[2:]
    losses(first, 2)
    first.training.save(folder / "state.safetensors")
    second.training.load(folder / "state.safetensors")
    assert second.training.progress.images_seen == 2 * BATCH
    assert losses(second, 2) == [pytest.approx(line, rel=1e-5, abs=1e-7) for line in expected]


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
@pytest.mark.parametrize("solver", sorted(registry.ideas("solvers")))
def test_a_solver_draws_on_cuda_as_on_the_cpu(solver: str, schedule: str) -> None:
    """The same starting noise and the same noise on the way give the same images to 1e-3."""
    drawn = []
    for device in (DEVICE, "cpu"):
        torch.manual_seed(0)
        denoiser = make_denoiser(SMALL.model_copy(update={"schedule": schedule}), SIZE, 3)
        with torch.inference_mode():
            drawn.append(sample(denoiser.to(device).eval(), range(4), (3, SIZE, SIZE), solver, 8))
    torch.testing.assert_close(drawn[0].cpu(), drawn[1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", SORTS)
def test_a_network_of_diffusers_draws_on_cuda_as_on_the_cpu(name: str, tmp_path: Path) -> None:
    """By its own scheduler's times, through its autoencoder: a pixel's step or two apart."""
    folder = SORTS[name].write(tmp_path / "base")
    check_drawn(*(load_model(folder, device).sample(range(4), 8) for device in (DEVICE, "cpu")))


@pytest.mark.parametrize(
    "method",
    [m for m in running() if m.choices is not None and m.choices.sampling.guidance is not None],
    ids=lambda method: method.id,
)
def test_a_guidance_draws_on_cuda_as_on_the_cpu(method: Method, base: Path, tmp_path: Path) -> None:
    there, here = (started(method, device, base, tmp_path / device) for device in (DEVICE, "cpu"))
    for run in (there, here):
        losses(run, 2)
    with torch.no_grad():
        for name, value in here.training.named.items():
            there.training.named[name].copy_(value)
    check_drawn(*(run.model.sample(range(4), 16) for run in (there, here)))


def test_every_guidance_is_some_running_method_s() -> None:
    guided = (m.choices.sampling.guidance for m in running() if m.choices is not None)
    assert {guidance.kind for guidance in guided if guidance} == set(registry.ideas("guidance"))


def check_drawn(there: np.ndarray, here: np.ndarray) -> None:
    apart = np.abs(there.astype(int) - here.astype(int))
    assert apart.mean() < 0.1 and apart.max() <= 8
    assert here.std() > 1


@pytest.mark.parametrize("kind", registry.ideas("backbones"))
def test_a_backbone_gives_on_cuda_what_it_gives_on_the_cpu(kind: str) -> None:
    """Prediction and features of every layer, float32, to 1e-4."""
    settings = registry.look_up("backbones", kind).settings
    try:
        network = SMALL if settings is None else settings()
    except ValidationError:
        pytest.skip("the classes of diffusers are tried by their folders")
    if not isinstance(network, BaseModel):
        assert kind in {name.partition(",")[0] for name in SORTS}, f"{kind} is in no folder"
        pytest.skip("the classes of diffusers are tried by their folders")
    drawn = torch.Generator().manual_seed(3)
    x, t = torch.randn(8, 3, SIZE, SIZE, generator=drawn), torch.linspace(0.1, 0.9, 8)
    found = []
    for device in (DEVICE, "cpu"):
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
    backbone.to(DEVICE).eval()
    x, t = torch.randn(8, 3, SIZE, SIZE, device=DEVICE), torch.linspace(0.1, 0.9, 8, device=DEVICE)
    with torch.no_grad():
        before = backbone(x, t).prediction
        adaptation = attach(backbone, settings())
        # What an adaptation adds is made on the CPU until the whole is moved, as a run does.
        backbone.to(DEVICE)
        assert torch.equal(backbone(x, t).prediction, before)
        for parameter in adaptation.parameters:
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
        changed = backbone(x, t).prediction
        assert torch.equal(changed, before) != settings.trains
        adaptation.merge()
        torch.testing.assert_close(backbone(x, t).prediction, changed, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory, base: Path) -> dict[str, str]:
    """What stands behind an encoder's name where it needs a model: one of random weights."""
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("vit")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    ViTModel(ViTConfig(**sizes, intermediate_size=64, image_size=32, patch_size=8)).save_pretrained(
        folder
    )
    (folder / "preprocessor_config.json").write_text('{"size": {"height": 32, "width": 32}}')
    return {"transformers": f":{folder}", "base": f":{base}"}


@pytest.mark.parametrize("kind", registry.ideas("encoders"))
def test_features_of_an_encoder_are_the_same(kind: str, behind: dict[str, str]) -> None:
    """float32 products in another order: within 1e-3 of a feature vector's length."""
    pixels = images().pixels[:8]
    name = kind + behind.get(kind, "")
    on_cuda, on_cpu = (
        load_encoder(name, size=SIZE, channels=3, device=device).encode(pixels)
        for device in (DEVICE, "cpu")
    )
    apart = np.linalg.norm(on_cuda - on_cpu, axis=1) / np.linalg.norm(on_cpu, axis=1)
    assert apart.max() < 1e-3
