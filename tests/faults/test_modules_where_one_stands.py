"""Files where a command is typed are no modules of Python's: real commands beside a torch.py."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from tiny_study import STUDY

NAMES = ("torch", "numpy", "random", "json", "logging", "typing", "PIL", "sqlite3", "yaml")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder of modules that refuse to be imported, one of them called kurabe."""
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name}.py of the folder')\n")
    (tmp_path / "kurabe").mkdir()
    (tmp_path / "kurabe" / "__init__.py").write_text("raise SystemExit('kurabe of the folder')\n")
    (tmp_path / "tiny.toml").write_text(STUDY.format(workers=1, images=64))
    return tmp_path


@pytest.mark.slow
def test_a_study_trains_and_is_measured_beside_modules_of_other_people(place):
    """Calibration is left out (its budget is in images); trials, workers and the table are not."""
    source = str(Path(__file__).parents[2] / "src")
    environment = {**os.environ, "KURABE_CACHE": str(place / "cache"), "PYTHONPATH": source}
    for command in (
        ["study", "tiny.toml", "--out", "tiny", "--yes", "--lang", "en"],
        ["compare", "--study", "tiny", "--lang", "en"],
        ["evaluate", "tiny/runs/ddpm/block-1"],
    ):
        # As the `kurabe` command is: its own folder, not the working one, comes first.
        done = subprocess.run(
            [sys.executable, "-P", "-m", "kurabe", *command],
            cwd=place, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        assert "of the folder" not in done.stdout + done.stderr
    logs = [log.read_text() for log in place.rglob("worker.log")]
    assert len(logs) == 2
    assert not any("of the folder" in log for log in logs)


def test_python_m_kurabe_takes_nothing_but_itself_from_the_folder(place):
    """Fault: -m puts the working folder first, so json.py there was the standard library's."""
    (place / "kurabe" / "__init__.py").unlink()
    (place / "kurabe").rmdir()
    # What Python itself needs to start a module is taken before anyone is asked.
    (place / "typing.py").unlink()
    source = str(Path(__file__).parents[2] / "src")
    done = subprocess.run(
        [sys.executable, "-m", "kurabe", "compare", "--study", "emoji-openmoji", "--lang", "en"],
        cwd=place, env={**os.environ, "PYTHONPATH": source}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "of the folder" not in done.stdout + done.stderr
