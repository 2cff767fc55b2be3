"""Records: what is written comes back, whatever was torn; the index equals the folders."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from kurabe.errors import UserError
from kurabe.records import Ledger, RunFolder, RunIndex, StudyFolder, find_runs, read_grid


def begun(path, **info):
    return RunFolder(path).create("seed = 0\n", {"id": path.name, "method": "ddpm", **info})


def test_run_json_comes_back_and_changes_field_by_field(tmp_path):
    run = begun(tmp_path / "run", block=2)
    run.update(status="finished", images_seen=640)
    info = RunFolder(tmp_path / "run").info
    assert info == {
        "schema": 1, "status": "finished", "images_seen": 640, "id": "run", "method": "ddpm",
        "block": 2,
    }  # fmt: skip
    assert run.recipe_toml == "seed = 0\n"


def test_a_folder_is_one_run(tmp_path):
    begun(tmp_path)
    with pytest.raises(UserError, match="holds a run already"):
        begun(tmp_path)


def test_a_status_is_one_of_the_five(tmp_path):
    with pytest.raises(ValueError, match="'done'"):
        begun(tmp_path).update(status="done")


def test_a_folder_that_is_no_run_and_a_later_schema_are_named(tmp_path):
    with pytest.raises(UserError, match=r"run\.json is missing"):
        _ = RunFolder(tmp_path).info
    run = begun(tmp_path)
    run.info_path.write_text(json.dumps({**run.info, "schema": 2}))
    with pytest.raises(UserError, match="schema 2"):
        _ = run.info


def test_a_running_run_without_a_living_writer_is_interrupted(tmp_path):
    run = begun(tmp_path, status="running")
    assert run.status == "interrupted"
    with run.writing():
        assert run.status == "running"
        with pytest.raises(UserError, match="another process"), RunFolder(tmp_path).writing():
            pass
    assert run.status == "interrupted"


def test_metrics_ignore_a_torn_last_line_and_the_next_line_survives_it(tmp_path):
    run = begun(tmp_path)
    run.append_metric({"images_seen": 32, "loss": 0.5})
    with run.metrics_path.open("ab") as file:
        file.write(b'{"images_seen": 64, "lo')
    assert run.metrics() == [{"images_seen": 32, "loss": 0.5}]
    run.append_metric({"images_seen": 64, "loss": 0.25})
    assert run.metrics() == [{"images_seen": 32, "loss": 0.5}, {"images_seen": 64, "loss": 0.25}]


def test_a_torn_line_longer_than_a_read_block_is_cut_whole(tmp_path):
    run = begun(tmp_path)
    run.append_metric({"images_seen": 1})
    with run.metrics_path.open("ab") as file:
        file.write(b"x" * 200_000)
    run.append_metric({"images_seen": 2})
    assert [line["images_seen"] for line in run.metrics()] == [1, 2]


def test_a_broken_line_in_the_middle_is_named(tmp_path):
    run = begun(tmp_path)
    run.metrics_path.write_text('{"images_seen": 1}\nnonsense\n{"images_seen": 3}\n')
    with pytest.raises(UserError, match="line 2"):
        run.metrics()


def test_a_loss_that_is_not_finite_is_recorded_as_null(tmp_path):
    run = begun(tmp_path)
    run.append_metric({"images_seen": 1, "loss": float("nan"), "bands": [float("inf"), 1.0]})
    assert run.metrics() == [{"images_seen": 1, "loss": None, "bands": [None, 1.0]}]


def test_truncating_keeps_what_was_seen_up_to_the_checkpoint(tmp_path):
    run = begun(tmp_path)
    for seen in (32, 64, 96):
        run.append_metric({"images_seen": seen})
    run.truncate_metrics(64)
    assert [line["images_seen"] for line in run.metrics()] == [32, 64]


def test_scores_come_back_by_name_and_names_cannot_leave_the_folder(tmp_path):
    run = begun(tmp_path)
    scores = {"schema": 1, "metrics": {"kid": {"value": 0.02}}}
    run.write_scores("test", scores)
    assert run.scores() == {"test": scores}
    for name in ("../escape", "", "a/b"):
        with pytest.raises(ValueError, match="plain file name"):
            run.write_scores(name, scores)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_grid_comes_back_tile_by_tile_with_its_seeds(tmp_path, channels):
    run = begun(tmp_path)
    tiles = np.random.default_rng(0).integers(0, 256, (11, 6, 5, channels), np.uint8)
    path = run.write_samples(tiles, range(40, 51), images_seen=12_800)
    assert path.name == "samples-0000012800-seed-40-50.png"
    grid = read_grid(path)
    assert np.array_equal(grid.tiles, tiles)
    assert (grid.seeds, grid.images_seen) == (tuple(range(40, 51)), 12_800)
    with Image.open(path) as image:
        assert image.size == (8 * 5, 2 * 6)


def test_grids_are_ordered_by_images_seen_within_a_kind(tmp_path):
    run = begun(tmp_path)
    tile = np.zeros((1, 4, 4, 1), np.uint8)
    for seen in (20_000, 900, 100_000):
        run.write_samples(tile, [0], seen)
    run.write_samples(tile, [0], 200_000, kind="nearest")
    assert [read_grid(path).images_seen for path in run.sample_grids()] == [900, 20_000, 100_000]
    assert [read_grid(path).images_seen for path in run.sample_grids("nearest")] == [200_000]


def test_a_stranger_among_the_samples_is_refused_as_a_grid(tmp_path):
    path = tmp_path / "samples-0000000001-seed-0-0.png"
    Image.new("L", (4, 4)).save(path)
    with pytest.raises(UserError, match="not a sample grid"):
        read_grid(path)


def test_a_study_lists_its_runs_by_column_and_block(tmp_path):
    study = StudyFolder(tmp_path / "scans-study")
    for column, block in (("lora", 10), ("lora", 2), ("ddpm", 0)):
        begun(study.run(column, block).path)
    (study.path / "runs" / "lora" / "block-3").mkdir()
    (study.path / "runs" / "lora" / "notes").mkdir()
    assert list(study.runs()) == [("ddpm", 0), ("lora", 2), ("lora", 10)]
    assert study.name == "scans-study"


def test_the_ledger_counts_openings_of_a_checkpoint_on_a_data_set(tmp_path):
    ledger = Ledger(tmp_path / "openings.jsonl")
    assert ledger.open("c1", "d1") == 1
    assert ledger.open("c2", "d1") == 1
    assert ledger.open("c1", "d1") == 2
    assert ledger.count("c1", "d2") == 0
    assert [entry["checkpoint"] for entry in ledger.entries()] == ["c1", "c2", "c1"]


def test_the_index_equals_the_folders_and_refreshing_again_changes_nothing(tmp_path):
    runs = [begun(tmp_path / f"s/{k}", study="s", block=k) for k in range(3)]
    index = RunIndex(tmp_path)
    assert index.refresh() == 3
    assert index.refresh() == 0
    runs[1].update(status="failed", error="not finite")
    shutil.rmtree(runs[2].path)
    assert index.refresh() == 2
    assert index.refresh() == 0
    expected = {str(run.path): run.info for run in find_runs(tmp_path)}
    assert {run.pop("path"): run for run in index.runs()} == expected
    assert [run["block"] for run in index.runs(study="s", status="failed")] == [1]


def test_the_index_may_be_deleted_or_garbage(tmp_path):
    begun(tmp_path / "a")
    index = RunIndex(tmp_path)
    index.refresh()
    index.path.write_bytes(b"this is no database" * 100)
    assert index.refresh() == 1
    assert [run["id"] for run in index.runs()] == ["a"]


def test_the_index_shows_an_unreadable_run_instead_of_failing(tmp_path):
    begun(tmp_path / "good")
    begun(tmp_path / "bad").info_path.write_text("{")
    index = RunIndex(tmp_path)
    index.refresh()
    [bad] = index.runs(status="unreadable")
    assert bad["id"] == "bad"
    assert "run.json" in bad["error"]


def test_the_index_is_asked_by_known_fields_only(tmp_path):
    with pytest.raises(ValueError, match="hardware"):
        RunIndex(tmp_path).runs(hardware="cpu")
