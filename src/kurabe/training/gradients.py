"""Whether the losses pull the network they share apart: the cosine between their gradients.

For a band b of log-SNR let g_b = ∇ Σ denoising loss over the images noised in the band, and let
h = ∇ Σ loss over the batch of another term, both by the trained weights of the backbone that the
other term reaches. Told is ⟨g_b, h⟩ / (‖g_b‖ ‖h‖): 1 where the terms want the same, −1 where they
want the opposite (Yu et al. 2020, "Gradient surgery for multi-task learning", definition 1).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from kurabe.objectives.objective import Objective
from kurabe.objectives.term import Batch
from kurabe.training.held_out import band_log_snrs
from kurabe.training.run import Run

Cosines = dict[str, list[float | None]]


def gradient_cosines(run: Run) -> Cosines:
    """Cosines of the weights as they train, on the run's first images; {} where one term is on.

    The images, their noise and their times are the same whenever it is called, and nothing is
    drawn that training would draw. It costs as much as one or two micro-batches of training.
    """
    streams = run.objective.streams(run.share)
    if len(_others(run.objective, run.share)) == 0:
        return {}
    part = run.accelerator.process_index
    batches = run.batches(streams, {}, part)
    (denoised,) = run.objective.terms[run.objective.denoising].streams(run.share)
    stream = next(stream for stream in streams if stream.name == denoised.name)
    first, count = run.plan.window(stream, 0, part)
    edges = run.recipe.evaluation.loss_bands
    positions = np.repeat(range(first, first + count), stream.views).tolist()
    return cosines_by_band(run.objective, batches, run.share, positions, edges, run.total)


def cosines_by_band(
    objective: Objective,
    batches: Mapping[str, Batch],
    progress: float,
    positions: Sequence[int],
    edges: Sequence[float],
    total: Callable[[Tensor], Tensor] = lambda own: own,
) -> Cosines:
    """For each term but denoising, the cosine in each band; None where a gradient is zero.

    positions: of the denoised images in their stream, once for each view. Image p is noised at a
    log-SNR in band p mod bands, so that each band gets its share of a small batch. edges: bands + 1
    rising log-SNRs. total: sums a gradient over processes.
    """
    denoising = objective.terms[objective.denoising]
    (name,) = (stream.name for stream in denoising.streams(progress))
    place = torch.as_tensor(np.asarray(positions)) % (len(edges) - 1)
    drawn = torch.from_numpy(band_log_snrs(edges, positions)).double()
    log_snrs = drawn.gather(1, place[:, None])[:, 0]
    images = batches[name]
    t = objective.denoiser.schedule.time_of_log_snr(log_snrs).to(images.t)
    images = replace(images, t=t)
    bands = [images.rows(torch.nonzero(place == b)[:, 0]) for b in range(len(edges) - 1)]
    weights = [p for p in objective.denoiser.backbone.parameters() if p.requires_grad]
    found: Cosines = {}
    for other in _others(objective, progress):
        losses = objective.losses_of(other, {**batches, name: images}, progress)
        gradients = torch.autograd.grad(losses.sum(), weights, allow_unused=True)
        reached = [w for w, g in zip(weights, gradients, strict=True) if g is not None]
        h = total(_flat([g for g in gradients if g is not None]))
        found[other] = []
        for band in bands:
            g = total(_denoising_gradient(objective, {name: band}, progress, reached))
            found[other].append(cosine(g, h))
    return found


def cosine(a: Tensor, b: Tensor) -> float | None:
    """⟨a, b⟩ / (‖a‖ ‖b‖); None where that is no number."""
    value = float((a @ b) / (a.norm() * b.norm()))
    return value if math.isfinite(value) else None


def _others(objective: Objective, progress: float) -> list[str]:
    """Names of the terms that are on beside denoising."""
    return [name for name in objective.on(progress) if name != objective.denoising]


def _denoising_gradient(
    objective: Objective, batches: Mapping[str, Batch], progress: float, weights: list[nn.Parameter]
) -> Tensor:
    if not any(len(batch.images) for batch in batches.values()):
        return _flat([torch.zeros_like(weight) for weight in weights])
    losses = objective.losses_of(objective.denoising, batches, progress)
    gradients = torch.autograd.grad(
        losses.sum(), weights, allow_unused=True, materialize_grads=True
    )
    return _flat(gradients)


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])
