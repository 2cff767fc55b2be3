"""The images that a model draws for a block: from which noise, and how long it took."""

import time
from dataclasses import dataclass

import numpy as np

from kurabe.evaluation.model_features import Model
from kurabe.recipe import Evaluation

# Seeds of two blocks never meet.
_SEEDS_PER_BLOCK = 1 << 20


@dataclass(frozen=True)
class Samples:
    """What a model drew: uint8 (N, H, W, C), image k from starting noise seeds[k]; and how long."""

    pixels: np.ndarray
    seeds: tuple[int, ...]
    seconds: float


def sample_seeds(seed: int, count: int) -> tuple[int, ...]:
    """The starting noises of a block, the same for every method."""
    return tuple(range(seed * _SEEDS_PER_BLOCK, seed * _SEEDS_PER_BLOCK + count))


def draw_samples(model: Model, settings: Evaluation, seed: int) -> Samples:
    """Draw the images of a block, all with the same number of network evaluations."""
    seeds = sample_seeds(seed, settings.samples)
    began = time.perf_counter()
    pixels = model.sample(seeds, settings.evaluations, batch=settings.batch)
    return Samples(pixels, seeds, time.perf_counter() - began)
