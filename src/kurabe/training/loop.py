"""The training loop: one for all methods, counted in images, resumable at every update.

An update draws the batches that the objective's terms need, passes each stream once, sums the
weighted terms, and steps AdamW; the average of the weights (EMA) is what is measured and kept.
Processes and devices are accelerate's affair: each process takes its part of every stream.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor

from kurabe.data import ImageSet, Split
from kurabe.errors import RunFailed, UserError
from kurabe.objectives import Objective, make_objective
from kurabe.recipe import Optimiser, Recipe
from kurabe.records import RunFolder
from kurabe.training.batches import Source
from kurabe.training.ema import EMA
from kurabe.training.flops import counter
from kurabe.training.held_out import HeldOut
from kurabe.training.interrupt import interruptible
from kurabe.training.model import WEIGHTS, Model, random_weights, save_weights, start_model
from kurabe.training.plan import Plan, make_plan
from kurabe.training.state import Training

STATE = "state.safetensors"
# Seconds between two writes of the state, and the largest share of the time they may take.
SAVE_EVERY, SAVE_SHARE = 15.0, 0.02
SAMPLE_SEEDS = range(16)
SAMPLE_EVALUATIONS = 10

Listener = Callable[[dict[str, Any]], None]


@dataclass
class Run:
    """Everything one run's training holds on to."""

    recipe: Recipe
    folder: RunFolder
    model: Model
    objective: Objective
    source: Source
    held_out: HeldOut
    plan: Plan
    training: Training
    accelerator: Accelerator
    listener: Listener

    @property
    def is_writer(self) -> bool:
        return self.accelerator.is_main_process


def train(
    recipe: Recipe,
    images: ImageSet,
    split: Split,
    folder: RunFolder,
    listener: Listener = lambda line: None,
) -> Model:
    """Train in a created run folder, or go on from its last state; the trained model comes back.

    The recipe's budget is in images. `listener` is told every line that goes to metrics.jsonl.
    Raises RunFailed where the loss stops being finite (the last good state stays), UserError
    where recipe and images do not fit, KeyboardInterrupt after Ctrl-C, with the state saved.
    """
    torch.set_num_threads(recipe.where.threads)
    if recipe.where.device == "cpu":
        torch.use_deterministic_algorithms(True)
        # A property of the module's class, which no annotation tells of.
        cast(Any, torch.utils.deterministic).fill_uninitialized_memory = False
    model = start_model(recipe, images.size, images.channels)
    shape = [images.size, images.size, images.channels]
    folder.update(image_shape=shape, trainable=model.trainable_count)
    if recipe.choices.trains:
        run = prepare(recipe, model, images, split, folder, listener)
        _go_on(run)
        with interruptible() as stop:
            _updates(run, stop)
        _finish(run)
    else:
        save_weights(model.adaptation, {}, folder.checkpoints / WEIGHTS)
        folder.update(images_seen=0, seconds=0.0, stopped="nothing to train")
    return model


def prepare(
    recipe: Recipe,
    model: Model,
    images: ImageSet,
    split: Split,
    folder: RunFolder,
    listener: Listener,
) -> Run:
    """Objective, optimiser, average and data of a run at its very start."""
    where, settings = recipe.where, recipe.optimiser
    accelerator = Accelerator(
        cpu=where.device == "cpu",
        mixed_precision="bf16" if where.dtype == "bfloat16" else "no",
        log_with=list(where.trackers) or None,
        project_dir=folder.path / "trackers",
    )
    with random_weights(recipe, "heads"):
        objective = make_objective(recipe.choices, model.denoiser).to(accelerator.device)
    if where.channels_last:
        # Documented, but not among the annotated overloads.
        cast(Any, objective).to(memory_format=torch.channels_last)
    optimiser = make_optimiser(objective, settings)
    grid = model.token_grid
    pixels = images.pixels[split.train]
    source = Source(pixels, recipe.seed, grid[0] * grid[1], accelerator.device)
    plan = make_plan(recipe, objective, accelerator.num_processes)
    ema = EMA(model.adaptation.state(), settings.ema_half_life)
    training = Training(objective, optimiser, ema)
    validation = images.subset(split.validation[: recipe.evaluation.loss_images])
    held_out = HeldOut(validation.as_float(), split.validation, recipe.evaluation.loss_bands)
    return Run(
        recipe,
        folder,
        model,
        objective,
        source,
        held_out,
        plan,
        training,
        accelerator,
        listener,
    )


def make_optimiser(objective: Objective, settings: Optimiser) -> torch.optim.AdamW:
    """AdamW on what trains; vectors (biases, positions, norms) are not decayed."""
    parameters = [p for p in objective.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, fused=True)


def learning_rate(settings: Optimiser, progress: float) -> float:
    """Linear warm-up, then half a cosine down to final_lr of the peak; progress in [0, 1]."""
    if progress < settings.warm_up:
        return settings.lr * progress / settings.warm_up
    rest = (progress - settings.warm_up) / (1 - settings.warm_up)
    falling = 0.5 * (1 + math.cos(math.pi * rest))
    return settings.lr * (settings.final_lr + (1 - settings.final_lr) * falling)


def _go_on(run: Run) -> None:
    """Begin, or go back to the last state, and forget what was told beyond it."""
    state = run.folder.checkpoints / STATE
    if state.exists():
        run.training.load(state)
    else:
        run.folder.update(flops_per_image=_flops_per_image(run))
    run.folder.truncate_metrics(run.training.progress.images_seen)
    run.folder.update(status="running", budget_images=run.plan.images)
    run.accelerator.init_trackers("kurabe", {"method": run.recipe.method})


def _flops_per_image(run: Run) -> float:
    """FLOPs of one image's forward and backward pass, counted on the first batch."""
    streams = run.objective.streams(0.0)
    batches = {s.name: run.source.batch(s, *run.plan.window(s, 0, 0)) for s in streams}
    with counter() as counted:
        losses = run.objective(batches, 0.0)
        torch.stack([loss.mean() for loss in losses.values()]).sum().backward()
    run.training.optimiser.zero_grad()
    images = sum(len(batch.images) for batch in batches.values())
    return counted.get_total_flops() / images


def _updates(run: Run, stop: Callable[[], bool]) -> None:
    progress, plan = run.training.progress, run.plan
    wrapped = run.accelerator.prepare_model(run.objective, device_placement=False)
    clock = _Clock(progress.seconds)
    window = _Window()
    run.model.denoiser.train()
    while progress.updates < plan.updates and not _stale(run):
        losses = update(run, wrapped)
        window.add(losses)
        progress.seconds = clock.seconds
        if progress.updates in plan.logged:
            window.tell(run)
        if progress.updates in plan.measured:
            _measure(run)
        if stop():
            window.check(run)
            _save(run)
            raise KeyboardInterrupt
        if clock.due:
            window.check(run)
            with clock.saving():
                _save(run)


def update(run: Run, wrapped: torch.nn.Module) -> dict[str, Tensor]:
    """One optimiser step; the mean of each term over the update's images."""
    training, plan = run.training, run.plan
    progress = training.progress
    share = progress.images_seen / plan.images
    streams = run.objective.streams(share)
    weights = run.objective.weights()
    means: dict[str, Tensor] = {}
    for part in plan.parts(run.accelerator.process_index):
        batches = {
            stream.name: run.source.batch(
                stream, *plan.window(stream, progress.positions.get(stream.name, 0), part)
            )
            for stream in streams
        }
        with run.accelerator.autocast():
            losses = wrapped(batches, share)
        total = cast(Tensor, sum(weights[name] * loss.mean() for name, loss in losses.items()))
        run.accelerator.backward(total / plan.micro_batches)
        for name, loss in losses.items():
            mean = loss.detach().mean() / plan.micro_batches
            means[name] = means.get(name, 0) + mean
    settings = run.recipe.optimiser
    for group in training.optimiser.param_groups:
        group["lr"] = learning_rate(settings, (progress.updates + 1) / plan.updates)
    run.accelerator.clip_grad_norm_(list(training.named.values()), settings.clip)
    training.optimiser.step()
    training.optimiser.zero_grad()
    for stream in streams:
        known = progress.positions.get(stream.name, 0)
        progress.positions[stream.name] = known + plan.images_of(stream)
    progress.updates += 1
    progress.images_seen += plan.batch
    training.ema.update(progress.images_seen, plan.batch)
    return means


def _measure(run: Run) -> None:
    """Held-out loss and a sample grid of the averaged weights; the best state is remembered."""
    progress = run.training.progress
    with run.training.ema.applied():
        bands = run.held_out.loss(run.model.denoiser)
        if run.is_writer:
            pixels = run.model.sample(SAMPLE_SEEDS, SAMPLE_EVALUATIONS)
            run.folder.write_samples(pixels, SAMPLE_SEEDS, progress.images_seen, "progress")
    run.model.denoiser.train()
    loss = sum(bands) / len(bands)
    if progress.best_loss is None or loss < progress.best_loss:
        progress.best_loss, progress.best_at, progress.stale = loss, progress.images_seen, 0
        if run.recipe.optimiser.patience is not None:
            run.training.best = {n: v.clone() for n, v in run.training.ema.average.items()}
    else:
        progress.stale += 1
    line = {"images_seen": progress.images_seen, "held_out": loss, "bands": bands}
    _tell(run, line)


def _stale(run: Run) -> bool:
    patience = run.recipe.optimiser.patience
    return patience is not None and run.training.progress.stale >= patience


def _finish(run: Run) -> None:
    """Keep the averaged weights (the best ones under patience) and let the state go."""
    training, progress = run.training, run.training.progress
    kept = training.best or training.ema.average
    run.model.adaptation.load(kept)
    run.model.denoiser.eval()
    run.accelerator.end_training()
    if run.is_writer:
        save_weights(run.model.adaptation, kept, run.folder.checkpoints / WEIGHTS)
        run.folder.update(
            images_seen=progress.images_seen,
            seconds=progress.seconds,
            best_at=progress.best_at if training.best else progress.images_seen,
            stopped="patience" if _stale(run) else "budget",
        )
        (run.folder.checkpoints / STATE).unlink(missing_ok=True)


def _save(run: Run) -> None:
    progress = run.training.progress
    if not run.is_writer:
        return
    try:
        run.training.save(run.folder.checkpoints / STATE)
        run.folder.update(images_seen=progress.images_seen, seconds=progress.seconds)
    except OSError as error:
        raise UserError(
            f"{run.folder.path} cannot be written ({error.strerror}); make room and run the same "
            "command again: it goes on from the last state."
        ) from None


def _tell(run: Run, line: dict[str, Any]) -> None:
    if run.is_writer:
        run.folder.append_metric(line)
        run.listener(line)
    numbers = {k: v for k, v in line.items() if isinstance(v, float)}
    run.accelerator.log(numbers, step=line["images_seen"])


class _Window:
    """Term means since the last line, summed on the device so that no update waits for them."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, losses: dict[str, Tensor]) -> None:
        self.count += 1
        for name, loss in losses.items():
            self.sums[name] = self.sums.get(name, 0) + loss

    def check(self, run: Run) -> dict[str, float]:
        """Mean of each term since the last line; RunFailed where one is not finite."""
        means = {name: float(value) / self.count for name, value in self.sums.items()}
        for name, mean in means.items():
            if not math.isfinite(mean):
                progress = run.training.progress
                raise RunFailed(
                    f"The {name} loss became {mean} within the {self.count} updates before image "
                    f"{progress.images_seen:,}; the last good state is kept. A lower learning "
                    f"rate than {run.recipe.optimiser.lr:g} may help."
                )
        return means

    def tell(self, run: Run) -> None:
        """Write a line and begin anew."""
        means = self.check(run)
        weights = run.objective.weights()
        progress = run.training.progress
        line = {
            "images_seen": progress.images_seen,
            "loss": sum(weights[name] * mean for name, mean in means.items()),
            "terms": means,
            "lr": run.training.optimiser.param_groups[0]["lr"],
            "seconds": round(progress.seconds, 3),
        }
        _tell(run, line)
        self.sums, self.count = {}, 0


class _Clock:
    """Seconds of training over all sittings, and when the state is due to be written."""

    def __init__(self, before: float) -> None:
        self._began = time.perf_counter() - before
        self._next = time.perf_counter() + SAVE_EVERY

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began

    @property
    def due(self) -> bool:
        return time.perf_counter() >= self._next

    @contextmanager
    def saving(self) -> Iterator[None]:
        """The slower the disk, the rarer the writes."""
        began = time.perf_counter()
        yield
        took = time.perf_counter() - began
        self._next = time.perf_counter() + max(SAVE_EVERY, took / SAVE_SHARE)
