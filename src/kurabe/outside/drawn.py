"""Images of a checkpoint that was trained elsewhere, drawn here as those of our own columns are.

The same starting noise for every column of a block and the same number of network evaluations, each
checkpoint by the solver that belongs to it. What was drawn lies below the study as PNG files, with
the digest of the weights beside, and is not drawn again.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kurabe import bases
from kurabe.bases.network import Prompt
from kurabe.errors import UserError, shown
from kurabe.files import write_text_atomic
from kurabe.outside.folders import Drawn
from kurabe.outside_settings import OutsideColumn
from kurabe.recipe import Evaluation, Recipe
from kurabe.records import RunFolder, StudyFolder
from kurabe.runs.bases import check_base, find_base
from kurabe.runs.teachers import check_measured_by_another
from kurabe.sizes import Sides, setting_of, times
from kurabe.study_settings import StudySettings

# Below a study's folder: drawn/<column>/block-<k>/, and in each what drew it.
DRAWN, DREW = "drawn", "drawn.json"


@dataclass(frozen=True)
class Drawing:
    """A checkpoint of a block: whose it is, where its images go, the block's seed."""

    column: OutsideColumn
    checkpoint: str
    folder: Path
    seed: int


def drawings(study: StudySettings, folder: StudyFolder) -> list[Drawing]:
    """What is drawn for a study, block after block of each column."""
    return [
        Drawing(
            column, place, folder.path / DRAWN / column.id / f"block-{k + 1}", study.first_seed + k
        )
        for column in study.outside
        for k, place in enumerate(column.checkpoint[: len(study.all_blocks)])
    ]


def check_checkpoint(
    column: OutsideColumn, place: str, sides: Sides, channels: int, evaluation: Evaluation
) -> None:
    """UserError where the checkpoint draws other images than these, wants words and has none, or
    taught the encoder that measures; no weights are read."""
    base = find_base(place)
    check_base(base, setting_of(sides), channels)
    if base.image_size != sides:
        raise UserError(
            f"{shown(place)} draws {times(base.image_size)}, and the study compares "
            f"{times(sides)}; --size {setting_of(base.image_size)} compares at its size."
        )
    known = base.info["network"]["prompt"]["text"] if base.asks_for_text else ""
    if base.asks_for_text and not (column.prompt or known).strip():
        raise UserError(
            f"{shown(place)} draws from text: say what your images show, as in "
            '--prompt "a drawing of a plant".'
        )
    if not base.asks_for_text and column.prompt is not None:
        raise UserError(
            f"the column '{column.id}' has a prompt, and {shown(place)} draws from noise alone; "
            "leave it out."
        )
    run = RunFolder(place)
    if place not in bases.available() and run.exists:
        recipe = Recipe.from_toml(run.recipe_path)
        check_measured_by_another(recipe.model_copy(update={"evaluation": evaluation}))


def draw(
    study: StudySettings,
    channels: int,
    folder: StudyFolder,
    told: Callable[[str, int], object] = lambda column, block: None,
) -> dict[str, tuple[str, ...]]:
    """The folders of every checkpoint's images by column, after drawing those that are missing.

    channels: of the study's images. `told` of each column and block that was drawn. UserError where
    a checkpoint holds other weights than when its images were drawn.
    """
    found: dict[str, tuple[str, ...]] = {}
    for one in drawings(study, folder):
        if _draw_one(one, study, channels):
            told(one.column.id, len(found.get(one.column.id, ())) + 1)
        found[one.column.id] = (*found.get(one.column.id, ()), str(one.folder))
    return found


def _draw_one(one: Drawing, study: StudySettings, channels: int) -> bool:
    """Draw the images of a block; whether there was anything to draw."""
    stamp = _stamp(one.checkpoint)
    how = study.evaluation
    asked: dict[str, Any] = {
        "seed": one.seed, "samples": how.samples, "evaluations": how.evaluations,
        "prompt": one.column.prompt,
    }  # fmt: skip
    before = _drew(one.folder / DREW)
    if before.get("asked") == asked and before.get("files") == stamp:
        return False

    import torch

    from kurabe.evaluation import draw_samples

    model = checkpoint_model(one.column, one.checkpoint, study)
    digest = model.state_digest()
    if before and before.get("checkpoint") != digest:
        raise UserError(
            f"{shown(one.checkpoint)} has other weights now than when the images in {one.folder} "
            "were drawn; put them back, or begin anew with --out."
        )
    if before and before.get("asked") != asked:
        raise UserError(
            f"The images in {one.folder} were drawn with other settings than study.toml has now; "
            "put those back, or begin anew with --out."
        )
    torch.set_num_threads(study.threads)
    samples = draw_samples(model, how, one.seed)
    one.folder.mkdir(parents=True, exist_ok=True)
    for k, (pixels, seed) in enumerate(zip(samples.pixels, samples.seeds, strict=True)):
        image = pixels[:, :, 0] if channels == 1 else pixels
        Image.fromarray(image).save(one.folder / f"{k:06d}-seed-{seed}.png")
    known = {"checkpoint": digest, "asked": asked, "files": stamp, "seconds": samples.seconds}
    write_text_atomic(one.folder / DREW, json.dumps(known))
    return True


def checkpoint_model(column: OutsideColumn, place: str, study: StudySettings) -> Any:
    """The checkpoint's model, on the study's device, told the column's prompt."""
    from kurabe.runs.precision import settled_device
    from kurabe.training import load_model

    device = settled_device(study.device)
    if column.prompt is None:
        return load_model(place, device)
    known = Prompt.model_validate(find_base(place).info["network"]["prompt"])
    return load_model(place, device, known.model_copy(update={"text": column.prompt}))


def look_at_drawn(place: str) -> Drawn:
    """The folder of what a checkpoint drew, image after image of the block's noises."""
    path = Path(place)
    names = tuple(sorted(file.name for file in path.glob("*.png")))
    with Image.open(path / names[0]) as image:
        return Drawn(path, names, (image.height, image.width), None)


def drawn_pixels(folder: Path, names: Sequence[str]) -> np.ndarray:
    """The images drawn to a folder, uint8 (N, H, W, C), as they were drawn."""
    found: list[np.ndarray] = []
    for name in names:
        with Image.open(folder / name) as image:
            found.append(np.asarray(image, np.uint8))
    pixels = np.stack(found)
    return pixels if pixels.ndim == 4 else pixels[..., None]


def seconds_of(folder: Path) -> float:
    """How long it took to draw the images of a folder."""
    return float(_drew(folder / DREW).get("seconds") or 0.0)


def _drew(path: Path) -> Mapping[str, Any]:
    """What is kept of a drawing; nothing where it was not finished."""
    try:
        known = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _stamp(place: str) -> list[list[Any]]:
    """Names, sizes and times of the files that hold a checkpoint's weights."""
    path = find_base(place).path
    return [
        [file.relative_to(path).as_posix(), (stat := file.stat()).st_size, stat.st_mtime_ns]
        for file in sorted(path.rglob("*.safetensors"))
    ]
