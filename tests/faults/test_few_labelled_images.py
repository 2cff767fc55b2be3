"""Twenty labelled images through a whole study, to a table that claims nothing of two of them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kurabe.comparison import study_table
from kurabe.records import StudyFolder
from kurabe.runs.images import load_images, split_images
from kurabe.runs.worker import execute
from kurabe.studies import disk
from kurabe.studies.closing import closing
from kurabe.studies.jobs import block_jobs
from kurabe.studies.state import StudyState
from kurabe.studies.study import Study
from kurabe.training.model import WEIGHTS

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


def settings_of(source: Path, **more: object) -> dict[str, object]:
    return {
        "name": "few",
        "baseline": "ddpm",
        "equal": "images",
        "blocks": 3,
        "threads": 1,
        "budget": {"images": 192},
        "trials": {"count": 0},
        "data": {"source": str(source), "size": 8, "channels": 1},
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
        **more,
    }


def test_the_ending_names_failed_runs_why_and_what_to_type(shapes, tmp_path):
    """Fault: an ending said how many runs had failed, and nothing else of them."""
    columns = [{"id": name, "method": name} for name in COLUMNS]
    study = Study.checked(settings_of(shapes, columns=columns, blocks=4), "few")
    place = StudyFolder(tmp_path / "few")
    place.path.mkdir()
    study.save(place.study_path)
    jobs = block_jobs(study, StudyState(), place)
    why = "The loss is not finite after 12 updates; try a smaller learning rate."
    for job in jobs[:-1]:
        job.folder.update(status="failed", error=f"{job.block}: {why}")
    for lang, named, more, again in (
        ("en", "from scratch, block 1, failed and stands as — in the table: 1: ",
         "and 2 more", "once the reason is mended, kurabe study "),
        ("ja", "（ブロック 1）は失敗しました（表では —）: 1: ",
         "ほか 2 件も失敗しました", "失敗した実行だけを"),
    ):  # fmt: skip
        lines = closing(study, StudyState(), place, jobs, lang)
        told = [line for line in lines if why in line]
        assert len(told) == 5
        assert any(f"{named}{why}" in line for line in told)
        assert any(more in line for line in lines)
        assert any(again in line and str(place.path) in line for line in lines)


def test_twenty_labelled_images_from_the_folder_to_the_table(shapes, tmp_path):
    settings = settings_of(shapes, columns=[{"id": name, "method": name} for name in COLUMNS])
    study, place = Study.checked(settings, "few"), StudyFolder(tmp_path / "few")
    place.path.mkdir()
    study.save(place.study_path)
    for job in block_jobs(study, StudyState(), place):
        execute(job.folder)
    files = [path for path in place.path.rglob("*") if path.is_file()]
    kept = next(path.stat().st_size for path in files if path.name == WEIGHTS)
    need, _ = disk.needed(
        study,
        StudyState(kept_bytes=dict.fromkeys(COLUMNS, kept)),
        [(column, block) for column in study.columns for block in (1, 2, 3)],
        1,
    )
    assert need / 20 < sum(path.stat().st_size for path in files) < need
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
