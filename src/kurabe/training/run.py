"""A run as training holds it: recipe, model, objective, data, optimiser, and the processes' part.

One run may be shared by several processes. All of them hold the same weights and draw their own
parts of every update; the main one alone writes into the run's folder.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedDataParallelKwargs, broadcast
from numpy.typing import NDArray
from torch import Tensor

from kurabe.data import Buckets, ImageSet, Split
from kurabe.errors import UserError
from kurabe.objectives.objective import Objective, make_objective
from kurabe.objectives.term import Batch, Stream
from kurabe.randomness import permutation
from kurabe.recipe import Recipe
from kurabe.records import RunFolder
from kurabe.spaces import encoded_once
from kurabe.training.batches import Source, Sources
from kurabe.training.buckets import BucketSource, buckets_of, check_full, shelves_of
from kurabe.training.conditions import check_prompts, told_of, told_of_drawn
from kurabe.training.ema import EMA
from kurabe.training.held_out import HeldOut
from kurabe.training.model import Model, random_weights
from kurabe.training.optimisers import make_optimiser
from kurabe.training.plan import Plan, make_plan
from kurabe.training.prefetch import Ahead
from kurabe.training.prepare_stage import Draw, drawn_by_base
from kurabe.training.references import refer
from kurabe.training.state import Training

# Values of the images that a closed form is fitted to: 128 MiB, 10,922 images of 32×32.
FITTED = 1 << 25
Listener = Callable[[dict[str, Any]], None]


@dataclass
class Run:
    """Everything one run's training holds on to."""

    recipe: Recipe
    folder: RunFolder
    model: Model
    objective: Objective
    source: Sources
    held_out: HeldOut
    plan: Plan
    training: Training
    accelerator: Accelerator
    listener: Listener
    draw: Callable[[Stream, int, int], Batch]

    @property
    def is_writer(self) -> bool:
        """Whether this is the process that writes."""
        return self.accelerator.is_main_process

    @cached_property
    def shared(self) -> torch.nn.Module:
        """The objective, its gradients averaged over processes where there are several."""
        return self.accelerator.prepare_model(self.objective, device_placement=False)

    @cached_property
    def is_trial(self) -> bool:
        """Whether the run is a learning-rate trial, of which the loss alone is looked at."""
        return self.folder.exists and "trial" in self.folder.info

    @cached_property
    def looked_at(self) -> frozenset[int]:
        """After which updates held-out loss and samples are made.

        Of a trial that patience cannot end the last loss counts, and no other is made.
        """
        if self.is_trial and self.recipe.optimiser.patience is None:
            return self.plan.measured & {self.plan.updates}
        return self.plan.measured

    @property
    def share(self) -> float:
        """The share of the budget that has been spent, in [0, 1]."""
        return self.training.progress.images_seen / self.plan.images

    def autocast(self) -> torch.autocast:
        """Inside, products are computed in the recipe's format."""
        narrow = self.recipe.where.dtype == "bfloat16"
        return torch.autocast(self.accelerator.device.type, torch.bfloat16, narrow)

    def note(self, **fields: Any) -> None:
        """Replace fields of run.json, in the writer alone."""
        if self.is_writer:
            self.folder.update(**fields)

    def batches(
        self, streams: Sequence[Stream], positions: Mapping[str, int], part: int
    ) -> dict[str, Batch]:
        """One part of each stream, from its position (0 where none is named)."""
        return {s.name: self.source.batch(s, *self._window(s, positions, part)) for s in streams}

    def next_batches(
        self, streams: Sequence[Stream], positions: Mapping[str, int], part: int
    ) -> dict[str, Batch]:
        """The same, part after part: drawn ahead where the network leaves the CPU to others."""
        return {s.name: self.draw(s, *self._window(s, positions, part)) for s in streams}

    def _window(self, stream: Stream, positions: Mapping[str, int], part: int) -> tuple[int, int]:
        return self.plan.window(stream, positions.get(stream.name, 0), part)

    def total(self, value: Tensor) -> Tensor:
        """The sum of every process's value, in all of them."""
        return cast(Tensor, self.accelerator.reduce(value, "sum"))

    def agreed(self, *flags: bool) -> list[bool]:
        """Each flag as raised in any process, in all of them."""
        if self.accelerator.num_processes == 1:
            return list(flags)
        raised = self.total(torch.tensor(flags, dtype=torch.int32, device=self.accelerator.device))
        return [value > 0 for value in raised.tolist()]

    def of_writer(self, values: Sequence[float]) -> list[float]:
        """The writer's values, in all processes."""
        if self.accelerator.num_processes == 1:
            return list(values)
        own = torch.tensor(values, dtype=torch.float64, device=self.accelerator.device)
        return cast(Tensor, broadcast(own)).tolist()


def _own(
    recipe: Recipe,
    model: Model,
    images: ImageSet,
    split: Split,
    buckets: Buckets | None,
    plan: Plan,
    streams: Sequence[Stream],
    device: torch.device,
) -> Source:
    """The run's training images: of one size, or where there are buckets each in its own."""
    told = told_of(recipe, model, images, split)
    if buckets is None:
        # The whole set is encoded, so that all runs of a study share what was computed.
        return _source(recipe, model, device, images.pixels, told=told, places=split.train)
    check_full(buckets, split, max(plan.images_of(s) for s in streams if s.source is None))
    shelves, train = shelves_of(buckets, model), split.train
    places = buckets.bucket[train], buckets.row[train]
    return BucketSource(shelves, *places, plan.images_of, recipe.seed, device, told)


def _source(
    recipe: Recipe, model: Model, device: torch.device, pixels: NDArray[np.uint8], **what: Any
) -> Source:
    rows, columns = model.token_grid
    encoded = encoded_once(model.space, pixels) if model.space.cached else None
    return Source(pixels, recipe.seed, rows * columns, device, model.space, encoded, **what)


def _held_out(recipe: Recipe, model: Model, images: ImageSet, split: Split) -> HeldOut:
    # Drawn, not the first by name: where folders are classes, those would be of a few alone.
    order = permutation(0, "held out", 0, len(split.validation))
    held = np.sort(split.validation[order[: recipe.evaluation.loss_images]])
    x0 = model.space.encode(images.pixels[held]).cpu().numpy()
    return HeldOut(x0, held, recipe.evaluation.loss_bands)


def _checkpoint(model: Model) -> None:
    try:
        model.denoiser.backbone.enable_gradient_checkpointing()
    except ValueError as error:
        raise UserError(
            f"gradient_checkpointing = true: {str(error).rstrip('.')}; leave it out, and lower "
            "optimiser.micro_batch where memory is short."
        ) from None


def _precondition(recipe: Recipe, model: Model, source: Source, folder: RunFolder) -> None:
    """Fit what stands in front of a network to its images, where it is to be; its seconds are
    training's."""
    closed = model.denoiser.backbone.preconditioner
    if closed is None or not (recipe.choices.start == "random" or recipe.choices.refit):
        return
    began = time.perf_counter()
    try:
        closed.fit(source.plain(max(2, FITTED // closed.mean.numel())))
    except ValueError as error:
        raise UserError(f"network.precondition needs more: {error}; leave it out.") from None
    # One process writes; the others have fitted the same.
    if PartialState().is_main_process and folder.exists and "prepared_seconds" not in folder.info:
        folder.update(prepared_seconds=time.perf_counter() - began)


def fit_alone(
    recipe: Recipe, model: Model, images: ImageSet, split: Split, folder: RunFolder
) -> None:
    """What a run does that trains nothing: fit what is to be fitted to its images."""
    if recipe.choices.refit:
        source = _source(recipe, model, model.device, images.pixels, places=split.train)
        _precondition(recipe, model, source, folder)


def prepare(
    recipe: Recipe,
    model: Model,
    images: ImageSet,
    split: Split,
    folder: RunFolder,
    listener: Listener,
    draw: Draw = drawn_by_base,
) -> Run:
    """Objective, optimiser, average and data of a run at its very start.

    draw: what makes the images that are drawn before training, where a term asks for some.
    """
    where, settings = recipe.where, recipe.optimiser
    accelerator = Accelerator(
        cpu=where.device == "cpu",
        # One process may train in several formats in turn, which accelerate's state would refuse.
        mixed_precision="no",
        log_with=list(where.trackers) or None,
        project_dir=folder.path / "trackers",
        # A pass need not use every parameter: without dropped tokens, say, the mask token rests.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    if where.gradient_checkpointing:
        _checkpoint(model)
    with random_weights(recipe, "heads"):
        objective = make_objective(recipe.choices, model.denoiser).to(accelerator.device)
    if where.channels_last:
        # Documented, but not among the annotated overloads.
        cast(Any, objective).to(memory_format=torch.channels_last)
    optimiser = make_optimiser(objective, settings)
    plan = make_plan(recipe, objective, accelerator.num_processes)
    source_of = partial(_source, recipe, model, accelerator.device)
    buckets = buckets_of(recipe, model, images, split, folder)
    streams = [stream for turn in objective.turns for stream in objective.streams(turn)]
    own = _own(recipe, model, images, split, buckets, plan, streams, accelerator.device)
    check_prompts(recipe, model, plan.drawn)
    drawn = draw(recipe, model, folder, plan)
    said = {of: told_of_drawn(model, of, len(pixels)) for of, pixels in drawn.items()}
    rest = {of: source_of(pixels, told=said[of]) for of, pixels in drawn.items()}
    source = Sources(own, rest)
    _precondition(recipe, model, own, folder)
    ema = EMA(model.adaptation.state(), settings.ema_half_life)
    refer(objective, ema)
    training = Training(objective, optimiser, ema)
    return Run(
        recipe,
        folder,
        model,
        objective,
        source,
        _held_out(recipe, model, images, split),
        plan,
        training,
        accelerator,
        listener,
        # On a CPU the cores are the network's own.
        source.batch if where.device == "cpu" else Ahead(source.batch, plan.processes).batch,
    )
