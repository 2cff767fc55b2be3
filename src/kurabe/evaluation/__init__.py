"""Measuring a trained model: the images it draws, its features, what it copied and what it cost."""

from kurabe.evaluation.evaluate import evaluate
from kurabe.evaluation.forgetting_rows import SourceDomain
from kurabe.evaluation.model_features import Pictures, Place, extract
from kurabe.evaluation.samples import Samples, draw_samples, sample_seeds

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
