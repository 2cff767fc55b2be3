"""Every optimiser of the registry: what it keeps is stored, and resuming equals no interruption."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from kurabe import registry
from kurabe.adaptations import attach
from kurabe.adaptations.bitfit import BitFit
from kurabe.adaptations.full import Full
from kurabe.adaptations.lora import LowRank
from kurabe.backbones import PatchTransformer
from kurabe.diffusion import SCHEDULES, NetworkDenoiser
from kurabe.errors import UserError
from kurabe.methods.settings import AdaptationChoice
from kurabe.objectives.denoising import Denoising
from kurabe.objectives.denoising.term import DenoisingTerm
from kurabe.objectives.objective import Objective
from kurabe.recipe import Optimiser, Recipe
from kurabe.training.ema import EMA
from kurabe.training.muon import COEFFICIENTS, ROUNDS, muon, orthogonal
from kurabe.training.optimisers import make_optimiser, sgd
from kurabe.training.state import Training

NEEDS = {"schedule-free": "schedulefree", "adamw-8bit": "bitsandbytes"}
EVERY = pytest.mark.parametrize("kind", registry.ideas("optimisers"))


def settings(kind: str, **more: object) -> Optimiser:
    alone = {"final_lr": 1, "ema_half_life": 0} if kind == "schedule-free" else {}
    return Optimiser.model_validate({"kind": kind, "lr": 0.01, **alone, **more})


def begun(kind: str) -> tuple[nn.Module, Training]:
    if kind in NEEDS:
        pytest.importorskip(NEEDS[kind])
    torch.manual_seed(0)
    # Two matrices have the 4096 numbers from which on moments are kept in eight bits, by one table.
    wide = (nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64))
    layers = (nn.Linear(4, 64), nn.Tanh(), *wide, nn.Tanh(), nn.Linear(64, 2))
    module = nn.Sequential(*layers)
    inside = layers[2].weight
    other = [p for p in module.parameters() if p.dim() > 1 and p is not inside]
    vectors = [p for p in module.parameters() if p.dim() == 1]
    groups = [
        {"params": [inside], "weight_decay": 0.1, "in_blocks": True},
        {"params": other, "weight_decay": 0.1, "in_blocks": False},
        {"params": vectors, "weight_decay": 0.0, "in_blocks": False},
    ]
    own = settings(kind)
    optimiser = registry.load("optimisers", kind)(groups, own)
    ema = EMA(dict(module.named_parameters()), own.ema_half_life)
    return module, Training(module, optimiser, ema)


def go_on(module: nn.Module, training: Training, steps: range) -> None:
    for step in steps:
        x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
        module(x).square().mean().backward()
        training.optimiser.step()
        training.optimiser.zero_grad()
        training.average(16 * (step + 1), 16)


@EVERY
def test_resuming_equals_no_interruption_bit_for_bit(kind: str, tmp_path: Path) -> None:
    whole, first, second = begun(kind), begun(kind), begun(kind)
    go_on(*whole, range(8))
    go_on(*first, range(3))
    first[1].save(tmp_path / "state.safetensors")
    go_on(*second, range(20, 22))
    second[1].load(tmp_path / "state.safetensors")
    go_on(*second, range(3, 8))
    for ours, theirs in zip(second[0].parameters(), whole[0].parameters(), strict=True):
        assert torch.equal(ours, theirs)
        kept, known = (of.optimiser.state[p] for of, p in ((second[1], ours), (whole[1], theirs)))
        assert {key: type(value) for key, value in kept.items()} == {
            key: type(value) for key, value in known.items()
        }
    for name, average in whole[1].ema.average.items():
        assert torch.equal(second[1].ema.average[name], average)


@EVERY
def test_an_optimiser_lowers_a_loss(kind: str) -> None:
    module, training = begun(kind)
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(99))
    before = module(x).square().mean().item()
    go_on(module, training, range(60))
    assert module(x).square().mean().item() < 0.9 * before


def test_what_stands_in_groups_is_kept(tmp_path: Path) -> None:
    _, first = begun("sgd")
    first.optimiser.param_groups[0]["lr"] = 0.25
    first.optimiser.param_groups[1]["passes"] = 7
    first.save(tmp_path / "state.safetensors")
    _, second = begun("sgd")
    second.load(tmp_path / "state.safetensors")
    assert second.optimiser.param_groups[0]["lr"] == 0.25
    assert second.optimiser.param_groups[1]["passes"] == 7


def test_sgd_is_nesterovs() -> None:
    """v ← μ v + g, x ← x − lr (g + μ v) on f(x) = x²/2, three steps by hand."""
    x = torch.nn.Parameter(torch.tensor([1.0]))
    optimiser = sgd([{"params": [x]}], Optimiser(kind="sgd", lr=0.1, betas=(0.9, 0.99)))
    value, velocity = 1.0, 0.0
    for _ in range(3):
        (x.square() / 2).sum().backward()
        optimiser.step()
        optimiser.zero_grad()
        velocity = 0.9 * velocity + value
        value -= 0.1 * (value + 0.9 * velocity)
        assert x.item() == pytest.approx(value, rel=1e-6)


def test_the_usual_optimiser_is_not_written_out_and_another_is() -> None:
    assert "kind" not in Optimiser().model_dump()
    assert Optimiser(kind="sgd").model_dump()["kind"] == "sgd"
    assert Optimiser.model_validate(Optimiser(kind="sgd").model_dump()).kind == "sgd"


def test_an_optimiser_nobody_has_is_told_with_the_near_names() -> None:
    choices = {"start": "random", "adaptation": {"kind": "full"}}
    settings = {
        "method": "ddpm",
        "choices": {**choices, "objective": [{"term": "denoising"}]},
        "data": {"source": "x"},
        "budget": {"images": 1},
        "optimiser": {"kind": "adamm"},
    }
    with pytest.raises(UserError, match=r"optimiser.kind = 'adamm': .*did you mean adamw\?$"):
        Recipe.checked(settings, "a recipe")


def made(choice: AdaptationChoice, kind: str = "muon") -> tuple[Objective, torch.optim.Optimizer]:
    torch.manual_seed(0)
    network = PatchTransformer(8, 1, patch=2, width=32, depth=2, heads=2)
    network.take_classes(3)
    attach(network, choice)
    denoiser = NetworkDenoiser(network, SCHEDULES["cosine"], "v")
    objective = Objective(denoiser, {"denoising": DenoisingTerm(Denoising(), denoiser)})
    return objective, make_optimiser(objective, settings(kind))


@pytest.mark.parametrize(
    ("choice", "layers"),
    [
        (Full(), {"modulation", "qkv", "attention_out", "mlp_in", "mlp_out"}),
        (LowRank(rank=2, targets="attention"), {"lora_A", "lora_B"}),
    ],
    ids=["full", "lora"],
)
def test_matrices_inside_blocks_are_muons_and_all_else_is_adamws(choice, layers) -> None:
    objective, optimiser = made(choice)
    for parameter in objective.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    turned = {
        name
        for name, parameter in objective.denoiser.backbone.named_parameters()
        if "momentum" in optimiser.state[parameter]
    }
    assert all(name.startswith("blocks.") for name in turned)
    assert {part for name in turned for part in name.split(".")} & layers == layers
    # Two blocks, a weight of each layer.
    assert len(turned) == (2 * len(layers) if isinstance(choice, Full) else 8)
    trained = [p for p in objective.parameters() if p.requires_grad]
    assert sum("exp_avg" in optimiser.state[p] for p in trained) == len(trained) - len(turned)


def test_muon_without_a_matrix_to_turn_is_refused() -> None:
    with pytest.raises(UserError, match=r"muon is for matrices inside blocks, and here none"):
        made(BitFit())


@pytest.mark.parametrize("shape", [(24, 40), (40, 24), (32, 32)])
def test_muons_matrices_are_u_p_of_s_v(shape: tuple[int, int]) -> None:
    """The iteration changes singular values alone, each by five rounds of the polynomial."""
    a, b, c = COEFFICIENTS
    matrix = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    expected = s / s.norm()
    for _ in range(ROUNDS):
        expected = a * expected + b * expected**3 + c * expected**5
    torch.testing.assert_close(orthogonal(matrix), u @ torch.diag(expected) @ vh)


@pytest.mark.parametrize("value", torch.logspace(-2, -0.16, 12, dtype=torch.float64).tolist())
def test_muons_singular_values_are_within_the_published_band(value: float) -> None:
    """From 0.01 of the norm up within 0.32 of 1 (Jordan et al. 2024 ask for about 0.3)."""
    u, _ = torch.linalg.qr(torch.randn(20, 20, dtype=torch.float64))
    values = torch.tensor([value, (1 - value**2) ** 0.5], dtype=torch.float64)
    found = torch.linalg.svdvals(orthogonal(u[:, :2] @ torch.diag(values)))
    assert found.min() > 0.68 and found.max() < 1.15


def test_muon_is_torchs_to_the_digits_of_bfloat16() -> None:
    """torch.optim.Muon multiplies in bfloat16: a step of ours in float32 is within 3 % of its."""
    torch.manual_seed(1)
    start = torch.randn(48, 24)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    group = {"params": [ours], "weight_decay": 0.1, "in_blocks": True}
    own = muon([group], settings("muon", betas=(0.95, 0.99)))
    other = torch.optim.Muon(
        [theirs], lr=0.01, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    for _ in range(5):
        before, gradient = theirs.detach().clone(), torch.randn(48, 24)
        ours.data.copy_(before)
        ours.grad, theirs.grad = gradient.clone(), gradient
        own.step()
        other.step()
        step = (theirs - before).norm()
        assert (ours - theirs).norm() < 0.03 * step
        # A number of a step is as large as one of AdamW's, 0.2 of the rate (Liu et al. 2025).
        size = (ours - (1 - 0.01 * 0.1) * before).square().mean().sqrt()
        assert 0.7 < size / (0.2 * 0.01) < 1.2


def test_muons_products_have_the_format_that_is_asked_for() -> None:
    matrix = torch.randn(16, 32, generator=torch.Generator().manual_seed(2))
    assert orthogonal(matrix).dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert orthogonal(matrix).dtype == torch.bfloat16


def test_what_is_measured_of_schedule_free_is_its_average_and_nothing_else_moves() -> None:
    """Against the library alone, which switches once, at the end."""
    (module, training), (other, plain) = begun("schedule-free"), begun("schedule-free")
    go_on(module, training, range(6))
    for step in range(6):
        x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
        other(x).square().mean().backward()
        plain.optimiser.step()
        plain.optimiser.zero_grad()
    for name, parameter in other.named_parameters():
        assert torch.equal(training.named[name], parameter)
    plain.optimiser.eval()
    for name, parameter in other.named_parameters():
        assert torch.equal(training.ema.average[name], parameter)
        assert not torch.equal(training.named[name], parameter)


@pytest.mark.parametrize("more", [{}, {"final_lr": 1}, {"ema_half_life": 0}])
def test_schedule_free_with_a_schedule_or_a_second_average_is_refused(more) -> None:
    with pytest.raises(ValueError, match=r"set optimiser.final_lr = 1 and optimiser.ema_half_life"):
        Optimiser(kind="schedule-free", **more)


@pytest.mark.parametrize(("kind", "package"), NEEDS.items())
def test_a_package_that_is_not_installed_is_named(kind, package, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"{kind} needs the package {package}.*pip install") as e:
        made(Full(), kind)
    assert e.value.exit_code == 2
