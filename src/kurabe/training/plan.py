"""How a budget of images becomes updates, micro-batches and each stream's part of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

from kurabe.errors import UserError
from kurabe.objectives.objective import Objective
from kurabe.objectives.term import Drawn, Stream
from kurabe.recipe import Recipe

LINES = 200
# A pass alone, in images of training: the backward pass costs as much as two forward ones (Kaplan
# et al. 2020, "Scaling laws for neural language models", section 2.1).
PASS = 1 / 3


@dataclass(frozen=True)
class Plan:
    """The arithmetic of a run.

    Streams are those that an objective joined: each says its share of an update.

    batch: images that pass the network in one update, views counted one by one. micro_batches:
    passes per update, each shared by all processes. logged, measured: updates after which a line
    is written, and after which held-out loss and samples are. drawn: how many images the base
    draws before the first update, for each source that is not the training images.
    """

    batch: int
    updates: int
    micro_batches: int
    processes: int
    logged: frozenset[int]
    measured: frozenset[int]
    drawn: dict[Drawn, int] = field(default_factory=dict)

    @property
    def images(self) -> int:
        """Images that the whole run passes through the network."""
        return self.updates * self.batch

    @property
    def prepared(self) -> int:
        """What is drawn before the first update costs, in images of training; it is paid from
        the budget."""
        return _prepared(self.drawn)

    def images_of(self, stream: Stream) -> int:
        """Images (not views) of a stream in one update."""
        return round(self.batch * _share(stream)) // stream.views

    def parts(self, process: int) -> range:
        """The parts of an update, of micro_batches · processes, that a process computes.

        The m-th parts of all processes lie side by side: together they are micro-batch m.
        """
        return range(process, self.micro_batches * self.processes, self.processes)

    def window(self, stream: Stream, position: int, part: int) -> tuple[int, int]:
        """First position and number of images of one part of a stream."""
        count = self.images_of(stream) // (self.micro_batches * self.processes)
        return position + part * count, count


def make_plan(recipe: Recipe, objective: Objective, processes: int = 1) -> Plan:
    """The plan of a recipe whose budget is in images; UserError where its numbers do not fit."""
    settings = recipe.optimiser
    if recipe.budget.images is None:
        raise ValueError("a budget in seconds is turned into images before training")
    batch = settings.batch
    micro_batches = math.ceil(batch / (processes * (settings.micro_batch or batch)))
    # Streams may change in the course of a run, and each of them must fit an update.
    stretches = [objective.streams(turn) for turn in objective.turns]
    sources = dict.fromkeys(s.source for streams in stretches for s in streams if s.source)
    drawn = {source: _drawn(source, recipe.budget.images) for source in sources}
    updates = max(1, math.ceil((recipe.budget.images - _prepared(drawn)) / batch))
    plan = Plan(
        batch,
        updates,
        micro_batches,
        processes,
        _evenly(updates, min(LINES, updates)),
        _evenly(updates, round(1 / settings.held_out_share)),
        drawn,
    )
    _check(plan, stretches)
    return plan


def _drawn(source: Drawn, budget: int) -> int:
    """How many images of a source its share of the budget holds."""
    return max(1, min(source.count, math.floor(source.most * budget / PASS / source.evaluations)))


def _prepared(drawn: Mapping[Drawn, int]) -> int:
    passes = sum(source.evaluations * count for source, count in drawn.items())
    return math.ceil(passes * PASS)


def _share(stream: Stream) -> float:
    return 1.0 if stream.share is None else stream.share


def _check(plan: Plan, stretches: Sequence[tuple[Stream, ...]]) -> None:
    """Parts hold whole images, micro-batches whole groups that are compared, and all the batch."""
    odd = _misfit(plan, stretches)
    if odd is None:
        return
    parts = plan.micro_batches * plan.processes
    sizes = count(math.ceil(plan.batch / parts))
    fitting = next(n for n in sizes if _misfit(replace(plan, batch=n * parts), stretches) is None)
    raise UserError(
        f"optimiser.batch = {plan.batch} does not divide: the stream '{odd.name}' takes "
        f"{_share(odd):.0%} of it in units of {odd.views * _unit(plan, odd)} images; "
        f"a batch of {fitting * parts} in micro-batches of {fitting} fits."
    )


def _misfit(plan: Plan, stretches: Sequence[tuple[Stream, ...]]) -> Stream | None:
    for streams in stretches:
        for stream in streams:
            images = plan.images_of(stream)
            if images == 0 or images % _unit(plan, stream):
                return stream
        if sum(plan.images_of(stream) * stream.views for stream in streams) != plan.batch:
            return streams[-1]
    return None


def _unit(plan: Plan, stream: Stream) -> int:
    """What a stream's images in an update must be a multiple of."""
    return plan.micro_batches * math.lcm(plan.processes, stream.together)


def _evenly(updates: int, count: int) -> frozenset[int]:
    return frozenset(math.ceil(updates * (k + 1) / count) for k in range(count))
