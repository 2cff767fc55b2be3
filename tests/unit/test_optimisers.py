"""Every optimiser of the registry: what it keeps is stored, and resuming equals no interruption."""

from pathlib import Path

import pytest
import torch

from kurabe import registry
from kurabe.errors import UserError
from kurabe.recipe import Optimiser, Recipe
from kurabe.training.ema import EMA
from kurabe.training.optimisers import sgd
from kurabe.training.state import Training

EVERY = pytest.mark.parametrize("kind", registry.ideas("optimisers"))


def begun(kind: str) -> tuple[torch.nn.Module, Training]:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
    groups = [
        {"params": [p for p in module.parameters() if p.dim() > 1], "weight_decay": 0.1},
        {"params": [p for p in module.parameters() if p.dim() == 1], "weight_decay": 0.0},
    ]
    optimiser = registry.load("optimisers", kind)(groups, Optimiser(kind=kind, lr=0.01))
    return module, Training(module, optimiser, EMA(dict(module.named_parameters()), 0.1))


def go_on(module: torch.nn.Module, training: Training, steps: range) -> None:
    for step in steps:
        x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
        module(x).square().mean().backward()
        training.optimiser.step()
        training.optimiser.zero_grad()


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
