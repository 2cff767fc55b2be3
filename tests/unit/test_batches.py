"""Batches drawn ahead, and generators moved from place to place: the same bits as one by one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from kurabe.data import ImageSet, split
from kurabe.methods import choices_of, find
from kurabe.objectives.term import Batch, Stream
from kurabe.randomness import generator, generators
from kurabe.recipe import Recipe
from kurabe.records import RunFolder
from kurabe.training.batches import Source
from kurabe.training.loop import update
from kurabe.training.model import start_model
from kurabe.training.prefetch import Ahead
from kurabe.training.run import Run, prepare

PLAIN = Stream("plain")
VIEWED = Stream("viewed", views=2, policy="crop-flip-jitter", keep=0.5, earliest=0.1)


def source() -> Source:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
    return Source(pixels, 3, 16, "cpu")


def same(one: Batch, other: Batch) -> bool:
    parts = ("images", "noise", "t", "keep")
    pairs = [(getattr(one, part), getattr(other, part)) for part in parts]
    return all(a is b or torch.equal(a, b) for a, b in pairs)


def test_generators_are_those_made_one_by_one() -> None:
    """Whatever the one before drew: a whole block, half of one, half a word."""
    positions = [5, 6, 2**40, 0]
    moved = generators(7, "test", positions, 2)
    for position, drawing in zip(positions, moved, strict=True):
        own = generator(7, "test", position, 2)
        np.testing.assert_array_equal(drawing.standard_normal(3), own.standard_normal(3))
        np.testing.assert_array_equal(
            drawing.random(3, dtype=np.float32), own.random(3, dtype=np.float32)
        )
        np.testing.assert_array_equal(drawing.permutation(9), own.permutation(9))


@pytest.mark.parametrize("skip", [1, 2])
def test_what_is_drawn_ahead_is_what_would_be_drawn_at_its_turn(skip: int) -> None:
    """In order, over the end of an epoch, after a jump as of a resumption, after a change."""
    plain, ahead = source(), Ahead(source().batch, skip)
    places = [*range(0, 60 * skip, 6 * skip), 12, 12 + 6 * skip, 0]
    changed = Stream("viewed", views=2, policy="crop-flip-jitter", earliest=0.1)
    asked = [(s, first, 6) for first in places for s in (PLAIN, VIEWED)]
    asked += [(changed, 0, 6), (changed, 6 * skip, 6), (changed, 0, 4)]
    for window in asked:
        assert same(ahead.batch(*window), plain.batch(*window))


def begun(folder: Path, *, ahead: bool) -> Run:
    pixels = np.rint(load_digits().images[:120] * (255 / 16)).astype(np.uint8)[..., None]
    images = ImageSet("digits", pixels, tuple(map(str, range(120))), np.arange(120))
    settings = Recipe.checked(
        {
            "method": "masked-diffusion",
            "choices": choices_of(find("masked-diffusion")).model_dump(mode="json"),
            "data": {"source": "digits"},
            "budget": {"images": 192},
            "network": {"patch": 2, "width": 32, "depth": 2, "heads": 2, "decoder": 1},
            "optimiser": {"batch": 32, "micro_batch": 16},
        },
        "test",
    )
    model = start_model(settings, 8, 1)
    parts = split(images, 0)
    run = prepare(settings, model, images, parts, RunFolder(folder), lambda line: None)
    if ahead:
        run.draw = Ahead(run.source.batch).batch
    model.denoiser.train()
    return run


def test_weights_know_nothing_of_it_and_a_run_goes_on_in_the_middle(tmp_path: Path) -> None:
    """Six updates at their turn, against three drawn ahead and, from their state, three more."""
    whole = begun(tmp_path, ahead=False)
    for _ in range(6):
        update(whole)
    first = begun(tmp_path, ahead=True)
    for _ in range(3):
        update(first)
    first.training.save(tmp_path / "state.safetensors")
    rest = begun(tmp_path, ahead=True)
    rest.training.load(tmp_path / "state.safetensors")
    for _ in range(3):
        update(rest)
    assert whole.training.progress.positions == rest.training.progress.positions
    ends = [run.model.denoiser.state_dict() for run in (whole, rest)]
    assert all(torch.equal(weight, ends[1][name]) for name, weight in ends[0].items())
