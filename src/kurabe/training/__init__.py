"""Training: one loop, its state, and the trained model as its users meet it."""

from kurabe.training.calibration import Measured, calibrate
from kurabe.training.held_out import held_out_loss
from kurabe.training.loop import train
from kurabe.training.model import Model, load_model

__all__ = ["Measured", "Model", "calibrate", "held_out_loss", "load_model", "train"]
