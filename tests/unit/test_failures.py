"""The end of a study names what failed, why, and what to type; in both languages."""

import pytest
from test_study import study
from test_trials import COLUMNS, STATE, bowl, tried

from kurabe.errors import RunFailed
from kurabe.execution.job import check_finished
from kurabe.records import StudyFolder
from kurabe.studies.failures import about_failures
from kurabe.studies.jobs import block_jobs

AGAIN = "kurabe study 'my study'"


def ended(tmp_path, wrong):
    """The closing lines, in English and Japanese, where these (column, block) failed so."""
    one, folder = study(columns=COLUMNS, blocks=3), StudyFolder(tmp_path)
    jobs = block_jobs(one, STATE, folder)
    for job in jobs:
        why = wrong.get((job.column.id, job.block), True)
        status = "finished" if why is True else "failed"
        job.folder.update(status=status, error=None if why is True else why)
    told = [about_failures(one, folder, jobs, AGAIN, lang) for lang in ("en", "ja")]
    return told, jobs


def test_column_block_and_reason_are_named_and_what_to_type(tmp_path):
    nan = "The loss is nan after 640 images;\n  try a smaller learning rate."
    wrong = {("ddpm", 1): nan, ("ddpm", 3): nan, ("masked", 2): "There is not enough memory."}
    (english, japanese), _ = ended(tmp_path, wrong)
    assert english == [
        "from scratch, blocks 1, 3, failed and stands as — in the table: The loss is nan after "
        "640 images; try a smaller learning rate.",
        f"{study(columns=COLUMNS).short_names('en')['masked']}, block 2, failed and stands as — in "
        "the table: There is not enough memory.",
        f"once the reason is mended, {AGAIN} tries these again, and only these",
    ]
    assert "ゼロから（ブロック 1, 3）は失敗しました" in japanese[0]
    assert "640 images" in japanese[0]
    assert AGAIN in japanese[-1]


def test_a_column_that_failed_everywhere_says_so_once(tmp_path):
    (english, japanese), jobs = ended(tmp_path, {("masked", k): "no luck" for k in (1, 2, 3)})
    assert len(english) == len(japanese) == 2
    assert "failed in every block" in english[0]
    assert english[0].endswith("no luck")
    assert "どのブロックでも" in japanese[0]
    check_finished(jobs)


def test_where_nothing_failed_nothing_is_said(tmp_path):
    (english, japanese), _ = ended(tmp_path, {})
    assert english == japanese == []


def test_a_failure_without_a_word_points_to_what_the_process_said(tmp_path):
    (english, japanese), jobs = ended(tmp_path, {("ddpm", 2): None})
    path = next(j.folder.path for j in jobs if (j.column.id, j.block) == ("ddpm", 2))
    assert f"{path}/worker.log" in english[0]
    assert f"{path}/worker.log" in japanese[0]


def test_trials_that_failed_are_named_with_their_rate(tmp_path):
    def loss(column, lr):
        return None if (column, lr) == ("ddpm", 0.003) else bowl(6e-4, 3)(lr)

    tried(tmp_path, loss)
    (english, japanese), _ = ended(tmp_path, {})
    assert english == [
        "from scratch, trial at learning rate 0.003, failed and counts as the worst: "
        "the loss is nan"
    ]
    assert "0.003 の試行は失敗" in japanese[0]


def test_where_no_run_finished_the_first_is_named_with_the_way_out(tmp_path):
    wrong = {(c["id"], k): f"{c['id']} {k}." for c in COLUMNS for k in (1, 2, 3)}
    _, jobs = ended(tmp_path, wrong)
    with pytest.raises(RunFailed, match=r"block 1, failed first: \w+ 1\. .*the same command"):
        check_finished(jobs)


def test_where_no_rate_could_be_tried_the_way_out_is_said(tmp_path):
    with pytest.raises(RunFailed, match=r"learning-rate trial of ddpm .*nan\. .*trials\.count = 0"):
        tried(tmp_path, lambda column, lr: None if column == "ddpm" else bowl(1e-3)(lr))
