"""Measuring a trained model: the images it draws, its features, what it copied and what it cost."""

from kurabe.evaluation.drawing import Samples, draw_samples, sample_seeds
from kurabe.evaluation.evaluate import evaluate
from kurabe.evaluation.features import Pictures, Place, extract
from kurabe.evaluation.forgetting import SourceDomain

__all__ = [
    "Pictures",
    "Place",
    "Samples",
    "SourceDomain",
    "draw_samples",
    "evaluate",
    "extract",
    "sample_seeds",
]
