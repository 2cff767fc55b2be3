"""The mathematics of diffusion: schedules, denoisers, weightings, samplers, guidance.

Notation: x₀ an image in [−1, 1], ε standard normal noise, x_t = α x₀ + σ ε with (α, σ) given by a
schedule at t in [0, 1]. Nothing here reads files or settings.
"""

from kurabe.diffusion.denoiser import (
    PREDICTIONS,
    Denoiser,
    GaussianDenoiser,
    NetworkDenoiser,
    Prediction,
)
from kurabe.diffusion.guidance import ClassifierFree, Clipped, DomainGuidance
from kurabe.diffusion.sampling import sample, time_grid
from kurabe.diffusion.schedule import SCHEDULES, Schedule
from kurabe.diffusion.weighting import WEIGHTINGS

__all__ = [
    "PREDICTIONS",
    "SCHEDULES",
    "WEIGHTINGS",
    "ClassifierFree",
    "Clipped",
    "Denoiser",
    "DomainGuidance",
    "GaussianDenoiser",
    "NetworkDenoiser",
    "Prediction",
    "Schedule",
    "sample",
    "time_grid",
]
