"""The training loop: one for all methods, counted in images, resumable at every update.

An update draws the batches that the objective's terms need, passes each stream once, sums the
weighted terms, and steps the optimiser; the average of the weights (EMA) is what is measured and
kept.

Several processes (see `kurabe.training.__main__`) share a run's updates: micro-batch m of
all processes together is what micro-batch m of a single process would be, gradients are averaged,
and terms that compare images gather them. So weights differ between numbers of processes by the
rounding of sums alone. The main process writes; all others wait for it where they need what it
wrote or measured.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import cast

import torch
from accelerate import PartialState
from torch import Tensor

from kurabe.data import ImageSet, Split
from kurabe.recipe import Recipe
from kurabe.records import RunFolder
from kurabe.training.conditions import classes_of
from kurabe.training.devices import compute_as
from kurabe.training.flops import counter
from kurabe.training.gradients import gradient_cosines
from kurabe.training.interrupt import interruptible
from kurabe.training.metric_lines import Window, tell
from kurabe.training.model import WEIGHTS, Model, save_weights, start_model
from kurabe.training.optimisers import learning_rate
from kurabe.training.prepare_stage import let_go
from kurabe.training.run import Listener, Run, fit_alone, prepare

STATE = "state.safetensors"
# Seconds between two writes of the state, and the largest share of the time they may take.
SAVE_EVERY, SAVE_SHARE = 15.0, 0.02
SAMPLE_SEEDS = range(16)
SAMPLE_EVALUATIONS = 10


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
    compute_as(recipe.where)
    # Before the model, since it says which CUDA device is this process's own.
    processes = PartialState(cpu=recipe.where.device == "cpu")
    classes = classes_of(recipe, images, split)
    model = start_model(recipe, images.size, images.channels, classes)
    if processes.is_main_process:
        shape = [*images.size, images.channels]
        told = {} if classes is None else {"classes": dict(classes.counts)}
        folder.update(image_shape=shape, trainable=model.trainable_count, **told)
    if recipe.choices.trains:
        run = prepare(recipe, model, images, split, folder, listener)
        _go_on(run)
        with interruptible() as stop:
            _updates(run, stop)
        _finish(run)
    elif processes.is_main_process:
        fit_alone(recipe, model, images, split, folder)
        state = model.adaptation.state()
        save_weights(model.adaptation, state, folder.checkpoints / WEIGHTS)
        seconds = folder.info.get("prepared_seconds") or 0.0
        folder.update(images_seen=0, seconds=seconds, stopped="nothing to train")
    return model


def _go_on(run: Run) -> None:
    """Begin, or go back to the last state, and forget what was told beyond it."""
    state = run.folder.checkpoints / STATE
    # Anew in each sitting: whether blocks are computed twice may have changed.
    run.note(flops_per_image=_flops_per_image(run))
    if state.exists():
        run.training.load(state)
    else:
        run.training.progress.seconds = run.folder.info.get("prepared_seconds") or 0.0
    if run.is_writer:
        run.folder.truncate_metrics(run.training.progress.images_seen)
    run.note(status="running", budget_images=run.plan.images)
    # None may write another state before all have read this one.
    run.accelerator.wait_for_everyone()
    run.accelerator.init_trackers("kurabe", {"method": run.recipe.method})


def _flops_per_image(run: Run) -> float:
    """FLOPs of one image's forward and backward pass, counted on the first batch.

    What gradient checkpointing computes anew on the way back is among them.
    """
    batches = run.batches(run.objective.streams(0.0), {}, run.accelerator.process_index)
    with counter() as counted:
        losses = run.objective(batches, 0.0)
        torch.stack([loss.mean() for loss in losses.values()]).sum().backward()
    run.training.optimiser.zero_grad()
    images = sum(len(batch.images) for batch in batches.values())
    return counted.get_total_flops() / images


def _updates(run: Run, stop: Callable[[], bool]) -> None:
    progress, plan = run.training.progress, run.plan
    clock = _Clock(progress.seconds)
    window = Window()
    run.model.denoiser.train()
    while progress.updates < plan.updates and not _stale(run):
        losses, norm = update(run)
        window.add(losses, norm)
        progress.seconds = clock.seconds
        if progress.updates in plan.logged:
            window.tell(run)
        if progress.updates in run.looked_at:
            with clock.paused():
                _measure(run)
        stopped, due = run.agreed(stop(), run.is_writer and clock.due)
        if stopped:
            window.check(run)
            _save(run)
            raise KeyboardInterrupt
        if due:
            window.check(run)
            with clock.paused(), clock.saving():
                _save(run)


def update(run: Run) -> tuple[dict[str, Tensor], Tensor]:
    """One optimiser step.

    Each term's mean over this process's images of the update comes back, and the gradient's norm
    before clipping.
    """
    training, plan, share = run.training, run.plan, run.share
    progress = training.progress
    streams, weights = run.objective.streams(share), run.objective.weights(share)
    means: dict[str, Tensor] = {}
    parts = plan.parts(run.accelerator.process_index)
    for part in parts:
        batches = run.next_batches(streams, progress.positions, part)
        # Gradients of micro-batches are summed in place and averaged over processes once.
        alone = run.accelerator.no_sync(run.shared) if part != parts[-1] else nullcontext()
        with alone:
            with run.autocast():
                losses = run.shared(batches, share)
            total = cast(Tensor, sum(weights[name] * loss.mean() for name, loss in losses.items()))
            run.accelerator.backward(total / plan.micro_batches)
        for name, loss in losses.items():
            mean = loss.detach().mean() / plan.micro_batches
            means[name] = means.get(name, 0) + mean
    settings = run.recipe.optimiser
    for group in training.optimiser.param_groups:
        group["lr"] = learning_rate(settings, (progress.updates + 1) / plan.updates)
    norm = run.accelerator.clip_grad_norm_(list(training.named.values()), settings.clip)
    with run.autocast():
        training.optimiser.step()
    training.optimiser.zero_grad()
    for stream in streams:
        known = progress.positions.get(stream.name, 0)
        progress.positions[stream.name] = known + plan.images_of(stream)
    progress.updates += 1
    progress.images_seen += plan.batch
    training.average(progress.images_seen, plan.batch)
    return means, cast(Tensor, norm)


def _measure(run: Run) -> None:
    """Held-out loss and a sample grid of the averaged weights; the best state is remembered."""
    progress = run.training.progress
    cosines = gradient_cosines(run)
    bands = [0.0] * (len(run.held_out.edges) - 1)
    if run.is_writer:
        with run.training.ema.applied():
            with run.autocast():
                bands = run.held_out.loss(run.model.denoiser)
            if not run.is_trial:
                pixels = run.model.sample(SAMPLE_SEEDS, SAMPLE_EVALUATIONS)
                seen = progress.images_seen
                run.folder.write_samples(pixels, SAMPLE_SEEDS, seen, "progress")
    # Whether the run goes on hangs on this loss, so it must be one number in all processes.
    bands = run.of_writer(bands)
    run.model.denoiser.train()
    loss = sum(bands) / len(bands)
    if progress.best_loss is None or loss < progress.best_loss:
        progress.best_loss, progress.best_at, progress.stale = loss, progress.images_seen, 0
        if run.recipe.optimiser.patience is not None:
            run.training.best = {n: v.clone() for n, v in run.training.ema.average.items()}
    else:
        progress.stale += 1
    line = {"images_seen": progress.images_seen, "held_out": loss, "bands": bands}
    tell(run, line | ({"gradient_cosine": cosines} if cosines else {}))


def _stale(run: Run) -> bool:
    patience = run.recipe.optimiser.patience
    return patience is not None and run.training.progress.stale >= patience


def _finish(run: Run) -> None:
    """Keep the averaged weights (the best ones under patience) and let the state go."""
    training, progress = run.training, run.training.progress
    kept = training.best or training.ema.average
    run.model.adaptation.load(kept)
    run.model.denoiser.eval()
    if run.is_writer:
        save_weights(run.model.adaptation, kept, run.folder.checkpoints / WEIGHTS)
        run.folder.update(
            images_seen=progress.images_seen,
            seconds=progress.seconds,
            best_at=progress.best_at if training.best else progress.images_seen,
            stopped="patience" if _stale(run) else "budget",
        )
        (run.folder.checkpoints / STATE).unlink(missing_ok=True)
        let_go(run.folder)
    run.accelerator.wait_for_everyone()
    run.accelerator.end_training()


def _save(run: Run) -> None:
    if run.is_writer:
        progress = run.training.progress
        run.training.save(run.folder.checkpoints / STATE)
        run.folder.update(images_seen=progress.images_seen, seconds=progress.seconds)


class _Clock:
    """Seconds of training over all sittings, and when the state is due to be written.

    What is measured and written on the way costs a method nothing: it is left out.
    """

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
    def paused(self) -> Iterator[None]:
        """Time that is no training."""
        stopped = time.perf_counter()
        yield
        self._began += time.perf_counter() - stopped

    @contextmanager
    def saving(self) -> Iterator[None]:
        """The slower the disk, the rarer the writes."""
        began = time.perf_counter()
        yield
        took = time.perf_counter() - began
        self._next = time.perf_counter() + max(SAVE_EVERY, took / SAVE_SHARE)
