"""The scan finds what walking through all folders finds, whatever happened since its last look."""

import os
import random
import shutil
from pathlib import Path

import pytest

from kurabe.records import find_runs
from kurabe.records.scan import Scan


def aged(root):
    """Times long past, as those of folders that nobody touches have."""
    for folder, _, _ in os.walk(root):
        os.utime(folder, ns=(10**18, Path(folder).stat().st_mtime_ns - 10**11))


def walked(root):
    stats = {str(run.path.relative_to(root)): run.info_path.stat() for run in find_runs(root)}
    return {path: (stat.st_mtime_ns, stat.st_size) for path, stat in stats.items()}


def touch(path, text="{}"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("settled", [False, True])
def test_after_any_change_the_scan_equals_a_walk(tmp_path, settled):
    rng = random.Random(0)
    scan = Scan(tmp_path)
    for step in range(150):
        folder = tmp_path / rng.choice("abc") / rng.choice("de") / rng.choice("fgh")
        change = rng.randrange(5)
        if change < 2:
            touch(folder / "run.json", "x" * step)
        elif change == 2:
            touch(folder.parent / "metrics.jsonl")
        elif change == 3:
            (folder / "run.json").unlink(missing_ok=True)
        else:
            shutil.rmtree(rng.choice([folder, folder.parent]), ignore_errors=True)
        runs, _ = scan.look()
        assert runs == walked(tmp_path)
        assert list(runs) == sorted(runs, key=lambda path: path.split("/"))
        if settled:
            aged(tmp_path)


def test_of_unchanged_folders_only_the_times_are_read(tmp_path, monkeypatch):
    for k in range(5):
        touch(tmp_path / f"s/runs/m/block-{k}/run.json")
    aged(tmp_path)
    scan = Scan(tmp_path)
    first = scan.look()
    monkeypatch.setattr(os, "scandir", lambda path: pytest.fail(f"{path} was listed"))
    assert scan.look() == first
    assert len(first[0]) == 5


def test_studies_are_found_beside_the_runs_and_not_inside_one_another(tmp_path):
    for place in ("s", "s/inner", "deep/t", ".hidden/u"):
        touch(tmp_path / place / "study.toml")
    touch(tmp_path / "s/runs/m/block-1/run.json")
    (tmp_path / "linked").symlink_to(tmp_path / "s")
    runs, studies = Scan(tmp_path).look()
    assert list(studies) == ["deep/t", "s"]
    assert list(runs) == ["s/runs/m/block-1"]


def test_a_folder_that_is_not_there_holds_nothing(tmp_path):
    assert Scan(tmp_path / "none").look() == ({}, {})
