"""How the solvers compare where no target has a say: python tools/solvers.py [BASE]

Every solver draws from the untouched base and from the base's network trained from scratch on
the base's own images for as little as a study pays for, at two numbers of network evaluations,
always from the same noise. Distances are to validation images of the base's own domain, which
none of the networks trained on and no study reports on; no target is opened. Beside KID stands KID
of features scaled to one length, which orders grain and blank pages as an eye does.
docs/decisions/0010-a-random-solver.md holds the rule and what came of it.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from kurabe import training
from kurabe.encoders import load_encoder
from kurabe.evaluation.distances import kid, precision_recall
from kurabe.evaluation.samples import draw_samples
from kurabe.methods import choices_of, find
from kurabe.recipe import DataSettings, Evaluation, Recipe
from kurabe.records import RunFolder
from kurabe.records.surroundings import cores
from kurabe.runs.bases import find_base, network_of
from kurabe.runs.images import load_images, split_images
from kurabe.runs.precision import usual_dtype

SAMPLES, SEED = 256, 5
SOLVERS = ("dpmpp-2m", "dpmpp-2m-sde", "ddim", "ddpm", "heun")
EVALUATIONS = (16, 32)
SCRATCH = (2500, 10000)


def main(name: str) -> None:
    """Print a line for each model, number of evaluations and solver, then each solver's mean."""
    base = find_base(name)
    home = {k: v for k, v in base.info["data"].items() if k != "split_seed"}
    settings = DataSettings.model_validate(home)
    images = load_images(settings)
    split = split_images(images, settings, base.info["data"]["split_seed"])
    encoder = load_encoder("efficientnet-lite0")
    real = encoder.encode(images.pixels[split.validation])
    models = {"untouched": replace(training.load_model(name), dtype=usual_dtype("cpu"))}
    for count in SCRATCH:
        recipe = Recipe.checked(
            {
                "method": "ddpm",
                "choices": choices_of(find("ddpm")).model_dump(mode="json"),
                "data": home,
                "network": network_of(base),
                "budget": {"images": count},
                "optimiser": {"held_out_share": 1},
                "where": {"dtype": usual_dtype("cpu"), "threads": cores()},
            },
            name,
        )
        with tempfile.TemporaryDirectory() as place:
            folder = RunFolder(Path(place)).create(recipe.to_toml(), {"method": "ddpm"})
            models[f"scratch, {count:,}"] = training.train(recipe, images, split, folder)
    means: dict[str, list[float]] = {}
    for which, model in models.items():
        for evaluations in EVALUATIONS:
            for solver in SOLVERS:
                asked = Evaluation(samples=SAMPLES, evaluations=evaluations)
                drawn = draw_samples(replace(model, solver=solver), asked, SEED)
                found = encoder.encode(drawn.pixels)
                plain, scaled = kid(found, real), kid(_unit(found), _unit(real))
                precision, recall = precision_recall(found, real)
                means.setdefault(solver, []).append(float(np.log(scaled)))
                print(
                    f"{which:<16} {evaluations:3} evaluations  {solver:<13}"
                    f" KID × 10³ {1000 * plain:5.0f}   of one length × 10³ {1000 * scaled:5.0f}"
                    f"   precision {precision:.2f}, recall {recall:.2f}",
                    flush=True,
                )
    for solver, logs in sorted(means.items(), key=lambda item: sum(item[1])):
        print(f"{solver:<13} geometric mean of one length × 10³ {1000 * np.exp(np.mean(logs)):.0f}")


def _unit(features: np.ndarray) -> np.ndarray:
    """Rows (N, D) scaled to the length √D, so that KID's kernel sees values near 1."""
    rows = np.asarray(features, np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True) * np.sqrt(rows.shape[1])


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["emoji-32"]))
