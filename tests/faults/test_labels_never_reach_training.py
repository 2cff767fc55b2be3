"""Class folders renamed, shuffled or flattened: the same parts and the same weights, bit for bit.

Real folders of PNG files go the whole way of a run: decoded, split, trained for some steps, weights
written. All that are told no class are tried.
"""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kurabe.data import TRACES
from kurabe.methods import catalogue
from kurabe.records import RunFolder
from kurabe.runs.images import load_images, split_images
from kurabe.runs.worker import execute
from kurabe.studies.single import Single, single_study
from kurabe.studies.state import StudyState
from kurabe.training.model import WEIGHTS

METHODS = sorted(
    id
    for id, of in catalogue().items()
    if of.choices is not None and of.choices.trains and of.choices.condition is None
)
COUNT = 40
NETWORK = {"width": 32, "depth": 3, "heads": 2, "decoder": 1}
BRIEFLY = {"evaluations": 2, "samples": 4, "loss_images": 4}
# For each image the folder that it lies in, "" for none.
PLACES = {
    "as they were": [("cats", "dogs")[k % 2] for k in range(COUNT)],
    "renamed": [("zebra", "ape")[k % 2] for k in range(COUNT)],
    "shuffled": [("cats", "dogs")[k * 7 % 5 % 2] for k in range(COUNT)],
    "of four classes": [f"class {k % 4}" for k in range(COUNT)],
    "flattened": [""] * COUNT,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same drawings in other folders and under other names; a folder's name is the place's."""
    top = tmp_path_factory.mktemp("arranged")
    pictures = np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8, 3), np.uint8)
    for which, (name, places) in enumerate(PLACES.items()):
        for k, place in enumerate(places):
            folder = top / name / "drawings" / place
            folder.mkdir(parents=True, exist_ok=True)
            big = Image.fromarray(pictures[k]).resize((32, 32), Image.Resampling.NEAREST)
            big.save(folder / f"{(k + 11 * which) % COUNT:02}.png")
    return {name: top / name / "drawings" for name in PLACES}


@pytest.fixture(scope="module")
def base(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained from random weights, to start from."""
    place = tmp_path_factory.mktemp("base") / "run"
    trained("ddpm", folders["as they were"], place)
    return place


def trained(
    method: str, source: Path, run: Path, base: Path | None = None
) -> tuple[str, str, str, list[str]]:
    """The digests of weights, traces and labels after a few steps, and those of the three parts."""
    wanted = Single(
        method,
        str(source),
        base=base and str(base),
        budget="192img",
        size=8,
        device="cpu",
        settings={"optimiser": {"batch": 64, "held_out_share": 1.0}, "evaluation": BRIEFLY}
        | ({} if base else {"network": NETWORK}),
    )
    study = single_study(wanted).changed(threads=1)
    recipe = study.recipe(study.columns[0], 1, StudyState())
    images = load_images(recipe.data)
    parts = split_images(images, recipe.data, recipe.seed)
    folder = RunFolder(run)
    # A trial is trained and not measured.
    folder.create(recipe.to_toml(), {"id": "labels", "method": method, "seed": 0, "trial": 1.0})
    execute(folder)
    pieces = [images.subset(part).digest for part in (parts.train, parts.validation, parts.test)]
    weights = hashlib.sha256((folder.checkpoints / WEIGHTS).read_bytes()).hexdigest()
    traces = hashlib.sha256((run / TRACES).read_bytes()).hexdigest()
    return weights, traces, images.labels_digest, pieces


@pytest.mark.parametrize("method", METHODS)
def test_weights_and_parts_know_nothing_of_folders_and_names(method, folders, base, tmp_path):
    starts = catalogue()[method].choices.start
    start = base if starts == "base" else None
    seen = [trained(method, folders[name], tmp_path / name, start) for name in PLACES]
    weights, traces, labels, parts = zip(*seen, strict=True)
    assert len(set(labels)) == len(PLACES)
    assert len(set(weights)) == 1
    assert len(set(traces)) == 1
    assert all(pieces == parts[0] for pieces in parts)
    assert len(set(parts[0])) == 3
