"""How the solvers compare on a trained network: python tools/solvers.py [MODEL [SOURCE]]

MODEL is a base's name or a run's folder (emoji-32), SOURCE the images it should draw like
(openmoji), divided as recipes/emoji-openmoji.toml does. KID, precision and recall are against its
training and validation images: no test image is opened. Every line draws from the same noise.
docs/decisions/0010-a-random-solver.md holds what came of it.
"""

import sys
from dataclasses import replace

import numpy as np

from kurabe import data, training
from kurabe.evaluation.drawing import draw_samples
from kurabe.evaluation.encoders import load_encoder
from kurabe.evaluation.generation import kid, precision_recall
from kurabe.recipe import Evaluation

SAMPLES, SEED = 256, 5
FRACTIONS = (0.3, 0.1, 0.6)
TRIED = (
    ("dpmpp-2m", 16),
    ("heun", 32),
    ("ddim", 32),
    ("ddpm", 32),
    ("dpmpp-2m-sde", 16),
    ("dpmpp-2m-sde", 32),
)


def main(name: str, source: str) -> None:
    """Print a line for each solver and number of network evaluations."""
    model = replace(training.load_model(name), dtype="bfloat16")
    backbone = model.denoiser.backbone
    images = data.load(source, size=backbone.image_size, channels=backbone.in_channels)
    split = data.split(images, 0, fractions=FRACTIONS)
    seen = np.concatenate([split.train, split.validation])
    encoder = load_encoder("efficientnet-lite0")
    real = encoder.encode(images.pixels[seen])
    for solver, evaluations in TRIED:
        settings = Evaluation(samples=SAMPLES, evaluations=evaluations)
        drawn = draw_samples(replace(model, solver=solver), settings, SEED)
        features = encoder.encode(drawn.pixels)
        precision, recall = precision_recall(features, real)
        distance = f"KID × 10³ {1000 * kid(features, real):.0f}"
        found = f"precision {precision:.2f}, recall {recall:.2f}"
        print(f"{solver:<14} {evaluations:3} evaluations   {distance}   {found}", flush=True)


if __name__ == "__main__":
    main(*(sys.argv[1:] + ["emoji-32", "openmoji"][len(sys.argv) - 1 :]))
