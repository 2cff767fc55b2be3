"""Twenty labelled images through a whole study, to a table that claims nothing of two of them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kurabe.comparison import study_table
from kurabe.records import StudyFolder
from kurabe.runs.images import load_images, split_images
from kurabe.runs.worker import execute
from kurabe.studies.jobs import block_jobs
from kurabe.studies.state import StudyState
from kurabe.studies.study import Study

COLUMNS = ("ddpm", "masked-diffusion")


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """Twenty bright and dark drawings in class folders, 8×8."""
    rng = np.random.default_rng(0)
    for k in range(20):
        kind = ("bright", "dark")[k % 2]
        (tmp_path / "shapes" / kind).mkdir(parents=True, exist_ok=True)
        low = 120 if kind == "bright" else 0
        pixels = rng.integers(low, low + 120, (8, 8), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "shapes" / kind / f"{k}.png")
    return tmp_path / "shapes"


def test_twenty_labelled_images_from_the_folder_to_the_table(shapes, tmp_path):
    settings = {
        "name": "few",
        "baseline": "ddpm",
        "equal": "images",
        "blocks": 3,
        "threads": 1,
        "budget": {"images": 192},
        "trials": {"count": 0},
        "data": {"source": str(shapes), "size": 8, "channels": 1},
        "network": {"patch": 2, "width": 32, "depth": 3, "heads": 2, "decoder": 1},
        "optimiser": {"batch": 64, "held_out_share": 1.0},
        "evaluation": {
            "encoder": "pixels",
            "samples": 16,
            "evaluations": 2,
            "loss_images": 4,
            "log_snrs": [4],
            "grids": [1],
            "place": [0.5, 4, 1],
            "search_images": 20,
        },
        "columns": [{"id": name, "method": name} for name in COLUMNS],
    }
    study, place = Study.checked(settings, "few"), StudyFolder(tmp_path / "few")
    place.path.mkdir()
    study.save(place.study_path)
    for job in block_jobs(study, StudyState(), place):
        execute(job.folder)
    table = study_table(place, "en")
    rows = {row.key: row for row in table.rows}
    tested = len(split_images(load_images(study.data), study.data, 0).test)
    assert tested == 2
    for key in ("knn", "linear-probe", "few-shot-1", "few-shot-5", "own-view-recall"):
        assert rows[key].mark is None
        assert rows[key].note.startswith(f"no mark: {tested} images are too few for this row")
        assert [pair.images for pair in rows[key].pairs] == [tested]
    said = next(sentence for sentence in table.sentences if sentence.key == "features")
    assert said.mark == "?"
    assert said.detail.startswith("2 images are too few for a mark")
    assert any("2 test images" in text for text in table.tested)
