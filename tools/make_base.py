"""Turn a finished run into a shipped base: python tools/make_base.py RUN NAME.

Writes src/kurabe/bases/NAME/: model.safetensors (half precision), base.json, samples.png and the
model card README.md, with the feature distance, KID and their reference rows measured on images of
the base's own set that it was not trained on, near-copies of those left out too, from the weights
as they are shipped. With NAME alone a shipped base is measured again, as when the usual solver or
the rows have changed.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL.Image import Resampling
from safetensors.torch import save

from kurabe import bases, data
from kurabe.data.known.named import available
from kurabe.encoders import load_encoder
from kurabe.errors import UserError
from kurabe.evaluation.image_rows import generation_rows, loss_rows
from kurabe.evaluation.samples import draw_samples
from kurabe.files import write_bytes_atomic, write_json_atomic, write_text_atomic
from kurabe.recipe import DataSettings, Evaluation, Recipe
from kurabe.records import RunFolder
from kurabe.records.samples import sheet
from kurabe.runs.images import traces_of
from kurabe.training import load_model
from kurabe.training.model import WEIGHTS

BASES = Path(__file__).parent.parent / "src" / "kurabe" / "bases"
SETTINGS = Evaluation(samples=1000, evaluations=25, real_images=1000)


def make(run: str, name: str) -> None:
    """Write the base's weights and where they come from, of a finished run."""
    folder, target = RunFolder(run), BASES / name
    recipe = Recipe.from_toml(folder.recipe_path)
    trained = load_model(run)
    stored = {k: _stored(k, v) for k, v in trained.denoiser.backbone.state_dict().items()}
    write_bytes_atomic(target / WEIGHTS, save(stored, {"format": "pt"}))
    info = folder.info
    # What a run went on from was trained in earlier sittings, which count.
    before = {} if recipe.base is None else bases.find(recipe.base).info
    base = {
        "image_size": trained.image_size,
        "channels": trained.channels,
        "network": recipe.network.model_dump(mode="json"),
        "parameters": trained.parameters_count,
        "data": {**recipe.data.model_dump(mode="json"), "split_seed": recipe.seed},
        "recipe": f"src/kurabe/recipes/{name}.toml",
        "commit": info["commit"],
        "images_seen": info["images_seen"] + before.get("images_seen", 0),
        "seconds": round(info["seconds"] + before.get("seconds", 0)),
        "hardware": info["hardware"],
        "libraries": info["libraries"],
        "data_digest": info["data_digest"],
    }
    write_json_atomic(target / "base.json", base)
    if traces := traces_of(run):
        traces.write(target / data.TRACES)


def _stored(name: str, value: torch.Tensor) -> torch.Tensor:
    """In half precision, but for variances, some of which lie below its range."""
    return (value if name.endswith(".variances") else value.half()).contiguous()


def parts_of(images: data.ImageSet, target: Path) -> data.Split:
    """What a base was trained on, and what it never saw, nor any near-copy of it."""
    traces = data.Traces.read(target / data.TRACES)
    if traces is None:
        raise UserError(f"{target / data.TRACES} is missing: nothing tells what {target} saw.")
    traces = renewed(traces, images, target)
    known = np.isin(images.groups, images.groups[traces.hold(images)])
    trained = np.isin(images.keys, traces.keys)
    return data.Split(np.flatnonzero(trained), np.flatnonzero([]), np.flatnonzero(~known))


def renewed(traces: data.Traces, images: data.ImageSet, target: Path) -> data.Traces:
    """The traces with signatures as they are made today, of the images that the keys name."""
    place = {key: k for k, key in enumerate(images.keys.tolist())}
    wanted: list[int] = traces.keys.tolist()
    if not all(key in place for key in wanted):
        raise UserError(f"{images.name} no longer holds all images that {target} was trained on.")
    anew = data.Traces.of(images.subset([place[key] for key in wanted]))
    anew.write(target / data.TRACES)
    return anew


def measure(name: str) -> None:
    """Measure a base on images it never saw, and write its card and its grid."""
    target = BASES / name
    base = json.loads((target / "base.json").read_text(encoding="utf-8"))
    settings = {key: value for key, value in base["data"].items() if key != "split_seed"}
    seed = base["data"]["split_seed"]
    where = DataSettings.model_validate(settings)
    images = data.load(where.source, size=where.size, channels=where.channels)
    split = parts_of(images, target)
    torch.set_num_threads(1)
    model = load_model(target)
    encoder = load_encoder(SETTINGS.encoder, size=images.size, channels=images.channels)
    samples = draw_samples(model, SETTINGS, seed)
    rows = generation_rows(samples.pixels, images, split, SETTINGS, encoder, None)
    rows |= loss_rows(model, images, split, SETTINGS, None)
    base["measured"] = {
        key: {"value": row["value"], "n": row["n"], "references": row.get("references", {})}
        for key, row in rows.items()
    }
    base |= {"encoder": encoder.name, "solver": model.solver}
    write_json_atomic(target / "base.json", base)
    grid = sheet(samples.pixels[:64], 16)
    enlarged = grid.resize((2 * grid.width, 2 * grid.height), Resampling.NEAREST)
    enlarged.save(target / "samples.png", optimize=True)
    card = _card(name, base, split, (target / "NOTICE.md").exists())
    write_text_atomic(target / "README.md", card)


def _card(name: str, base: dict, split: data.Split, notice: bool) -> str:
    measured = base["measured"]
    known = available()[base["data"]["source"]]
    distance, kid = measured["feature-distance"], measured["kid"]
    whats = {
        "floor": "real training images (floor, expectation 0 for one distribution)",
        "copier": "training images as if they were samples (a copier)",
        "grain": "training images with noise of .1",
        "noise": "nothing but noise",
        "blank": "blank pages",
    }
    figures = [(f"**{name}**, {distance['n']} samples", distance["value"], kid["value"])]
    for key, what in whats.items():
        figures.append((what, distance["references"][key], kid["references"].get(key)))
    rows = "\n".join(
        f"| {what} | {value:.3f} | {'' if other is None else f'{other:.3f}'} |"
        for what, value, other in figures
    )
    colour = "grey" if base["channels"] == 1 else "colour"
    size = base["image_size"]
    attribution = "\n- **Attribution**: `NOTICE.md` beside this file." if notice else ""
    return f"""# {name}

A small unconditional diffusion model that draws {size}×{size} {colour} images: a base to adapt.

![samples]( samples.png )

- **Network**: patch transformer, {base["parameters"]:,} parameters in half precision:
  `{json.dumps(base["network"])}`.
- **Data**: `{base["data"]["source"]}` — {known.about[1]}. Trained on
  {len(split.train)} of its images, tested on {len(split.test)} that are no near-copies of those.
  Licences: {known.licence}.
- **Recipe**: `{base["recipe"]}`, trained at commit `{base["commit"][:12]}`:
  {base["images_seen"]:,} images seen in {base["seconds"] / 60:.0f} minutes on one thread
  of {base["hardware"]["processor"]}.{attribution}

## Measured on images it never saw, from the weights as shipped

{base["encoder"]} features, {SETTINGS.evaluations} network evaluations of {base["solver"]} (lower is
better):

| what | feature distance | KID |
|---|---|---|
{rows}

Images that are near-copies of none are a little unlike the rest, so the floor lies above 0.

Recall {measured["recall"]["value"]:.2f}, precision {measured["precision"]["value"]:.2f},
held-out x₀-error {measured["held-out-loss"]["value"]:.4f}.

## Limits

Trained in hours on two cores, on one domain alone: it knows the shapes of that domain and nothing
else. Samples can resemble training images; `kurabe` measures how often.
""".replace("( samples.png )", "(samples.png)")


if __name__ == "__main__":
    if len(sys.argv) > 2:
        make(*sys.argv[1:])
    measure(sys.argv[-1])
