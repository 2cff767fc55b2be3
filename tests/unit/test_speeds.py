"""Seconds into images: the turns of a calibration, its stretches, and what finished runs add."""

from types import SimpleNamespace

import pytest
from test_study import study

from kurabe import training
from kurabe.errors import UserError
from kurabe.execution.local import HERE
from kurabe.records import StudyFolder
from kurabe.runs.images import load_images
from kurabe.studies import calibration, speeds
from kurabe.studies.jobs import block_jobs, renew
from kurabe.studies.state import StudyState
from kurabe.training import calibration as turns

DIGITS = {
    "data": {"source": "digits", "size": 8, "channels": 1, "limit": 100},
    "network": {"patch": 2, "width": 32, "depth": 3, "heads": 2, "decoder": 1},
    "trials": {"count": 0},
}
COLUMNS = [
    {"id": "ddpm", "method": "ddpm"},
    {"id": "other", "method": "ddpm", "overrides": {"initialisation": 1, "optimiser": {"lr": 0.1}}},
    {"id": "masked", "method": "masked-diffusion"},
    {"id": "wide", "method": "ddpm", "overrides": {"network": {"width": 64}}},
]


def test_columns_with_one_step_graph_are_measured_once_and_have_one_rate(monkeypatch):
    one = study(columns=COLUMNS, **DIGITS)
    assert calibration.alike(one) == {
        "ddpm": ("ddpm", "other"),
        "other": ("ddpm", "other"),
        "masked": ("masked",),
        "wide": ("wide",),
    }
    measured = {"ddpm": 100.0, "masked": 150.0, "wide": 60.0}
    monkeypatch.setattr(
        calibration, "_measured", lambda *_: {k: (v, 4e6) for k, v in measured.items()}
    )
    state = StudyState()
    assert calibration.calibrate(one, state, HERE) == measured | {"other": 100.0}
    assert state.kept_bytes == dict.fromkeys(("ddpm", "other", "masked", "wide"), 4_000_000)
    # A column that comes later and computes what another does needs no measurement at all.
    known = StudyState(rates={"ddpm": 90.0, "masked": 150.0, "wide": 60.0})
    assert calibration.to_measure(one, known) == ()
    monkeypatch.setattr(calibration, "_measured", lambda *_: pytest.fail("measured"))
    assert calibration.calibrate(one, known, HERE) == {"other": 90.0}


def test_a_fine_tuned_base_and_scratch_of_its_network_are_as_fast():
    columns = [{"id": "tuned", "method": "full-fine-tuning"}, {"id": "ddpm", "method": "ddpm"}]
    shape = {"precondition": "mixture"}
    one = study(columns=columns, base="emoji-32", network=shape)
    assert calibration.alike(one)["tuned"] == ("tuned", "ddpm")
    other = study(columns=columns, base="emoji-32", network=shape | {"refine": 0})
    assert calibration.alike(other)["tuned"] == ("tuned",)


def test_every_stretch_of_a_run_is_priced_by_its_share_and_recipes_take_turns(monkeypatch):
    """Updates that take known times: 4 ms of plain steps, 1 ms of masked ones, 8 ms of wide ones.

    The clock is one that updates move on. A machine that is half as fast from the middle of the
    measurement on is so for all recipes.
    """
    now = 0.0
    monkeypatch.setattr(turns, "time", SimpleNamespace(perf_counter=lambda: now))
    order: list[str] = []

    def update(run):
        run.training.progress.updates += 1
        run.training.progress.images_seen += run.plan.batch
        masked = any(s.keep < 1 for s in run.objective.streams(run.share))
        wide = run.recipe.network.width == 64
        order.append("masked" if masked else "wide" if wide else "plain")
        nonlocal now
        now += (2 if now > 6 else 1) * {"masked": 0.001, "wide": 0.008, "plain": 0.004}[order[-1]]

    monkeypatch.setattr(turns, "update", update)
    columns = [COLUMNS[0], COLUMNS[3], {
        "id": "masked", "method": "masked-diffusion", "overrides": {"choices": {"objective": [
            {"term": "denoising"}, {"term": "masked", "keep": 0.5, "unmask_share": 0.25}
        ]}}}]  # fmt: skip
    one = study(columns=columns, **DIGITS)
    settled = StudyState(rates=dict.fromkeys(("ddpm", "wide", "masked"), 1.0))
    recipes = {c.id: one.recipe(c, 1, settled) for c in one.columns}
    rates = training.calibrate(recipes, load_images(one.data), 4.0)
    per_image = {key: 1 / of.rate for key, of in rates.items()}
    assert per_image["wide"] / per_image["ddpm"] == pytest.approx(2, rel=0.02)
    # .75 · 1 + .25 · 4 = 1.75 ms against 4 ms of plain steps; were the end unpriced, 1 against 4.
    assert per_image["masked"] / per_image["ddpm"] == pytest.approx(1.75 / 4, rel=0.02)
    last = {key: len(order) - order[::-1].index(key) for key in set(order)}
    assert min(last.values()) > 0.9 * len(order)


@pytest.fixture
def begun(tmp_path):
    columns = [*COLUMNS[:3], {"id": "base", "method": "base"}]
    one = study(columns=columns, base="fashion-28", **DIGITS)
    state = StudyState(rates={"ddpm": 100.0, "other": 100.0, "masked": 150.0})
    folder = StudyFolder(tmp_path)
    return one, state, folder, block_jobs(one, state, folder)


def finish(jobs, block, seconds):
    for job in jobs:
        if job.block == block:
            images = job.recipe.budget.images if job.column.id in seconds else 0
            took = seconds.get(job.column.id, 0.0)
            job.folder.update(status="finished", images_seen=images, seconds=took)


def images_of(jobs, block):
    return {
        j.column.id: (j.recipe.budget.images, j.folder.info["budget_images"])
        for j in jobs
        if j.block == block and j.column.id != "base"
    }


def test_later_blocks_have_the_images_that_finished_ones_could_see_in_the_seconds(begun):
    """Of 60 s asked, ddpm took 66 and 62, masked 54: the second block is longer or shorter."""
    one, state, folder, jobs = begun
    assert speeds.settle(one, state, jobs, 1)
    renew(one, state, jobs, 1)
    assert images_of(jobs, 1) == {
        "ddpm": (6000, 6000), "other": (6000, 6000), "masked": (9000, 9000),
    }  # fmt: skip
    finish(jobs, 1, {"ddpm": 66.0, "other": 62.0, "masked": 54.0})
    assert speeds.settle(one, state, jobs, 2)
    renew(one, state, jobs, 2)
    # The calibration's 4 s count as such: (400 + 12,000) / (4 + 128), (600 + 9,000) / (4 + 54).
    plain, masked = 12400 / 132, 9600 / 58
    assert state.settled[2] == pytest.approx({"ddpm": plain, "other": plain, "masked": masked})
    assert images_of(jobs, 2)["ddpm"] == images_of(jobs, 2)["other"] == (5636, 5636)
    assert images_of(jobs, 2)["masked"] == (9931, 9931)
    # What was finished keeps its own, and nothing is settled twice.
    assert images_of(jobs, 1)["ddpm"] == (6000, 6000)
    assert not speeds.settle(one, state, jobs, 2)
    # The same command later, from the files: the same recipes.
    state.write(folder.state_path)
    again = block_jobs(one, StudyState.read(folder.state_path), folder)
    assert [job.recipe for job in again] == [job.recipe for job in jobs]


def test_a_kill_between_speeds_and_recipes_loses_nothing(begun):
    one, state, folder, jobs = begun
    finish(jobs, 1, {"ddpm": 66.0, "other": 62.0, "masked": 54.0})
    speeds.settle(one, state, jobs, 2)
    again = block_jobs(one, state, folder)
    assert images_of(again, 2)["ddpm"] == (5636, 5636)


def test_a_block_counts_once_all_its_columns_have_finished(begun):
    one, state, _, jobs = begun
    finish(jobs, 1, {"ddpm": 66.0, "other": 62.0})
    jobs[-1].folder.update(status="planned")
    for job in jobs:
        if job.block == 1 and job.column.id == "masked":
            job.folder.update(status="failed")
    assert speeds.known(one, state, jobs) == pytest.approx(state.rates)


def test_a_study_begun_by_an_earlier_version_keeps_the_images_of_its_block(begun):
    one, state, _, jobs = begun
    finish(jobs, 1, {"ddpm": 66.0, "other": 62.0, "masked": 54.0})
    next(j for j in jobs if j.block == 2 and j.column.id == "masked").folder.update(
        status="interrupted"
    )
    speeds.settle(one, state, jobs, 2)
    assert state.settled[2] == state.rates


def test_a_column_added_later_has_the_images_of_its_step_graph_in_each_block(begun):
    one, state, folder, jobs = begun
    speeds.settle(one, state, jobs, 1)
    finish(jobs, 1, {"ddpm": 66.0, "other": 62.0, "masked": 54.0})
    speeds.settle(one, state, jobs, 2)
    more = one.with_column("third", "ddpm")
    state.rates["third"] = 100.0
    jobs = block_jobs(more, state, folder)
    speeds.settle(more, state, jobs, 1)
    speeds.settle(more, state, jobs, 2)
    assert [state.settled[k]["third"] for k in (1, 2)] == [100.0, state.settled[2]["ddpm"]]


def test_equal_images_and_budgets_in_images_are_not_corrected(tmp_path):
    for changes in ({"equal": "images"}, {"equal": "images", "budget": {"images": 500}}):
        one = study(columns=COLUMNS[:2], **DIGITS, **changes)
        state = StudyState(rates={"ddpm": 100.0, "other": 100.0})
        jobs = block_jobs(one, state, StudyFolder(tmp_path / str(len(str(changes)))))
        assert not speeds.settle(one, state, jobs, 1)


def test_only_the_images_of_a_planned_run_follow_its_blocks_speeds(begun):
    one, state, folder, jobs = begun
    jobs[1].folder.update(status="interrupted")
    state.settled[jobs[1].block] = dict.fromkeys(("ddpm", "other", "masked"), 50.0)
    with pytest.raises(UserError, match=r"begun with other settings \(budget\.images = 6000\)"):
        block_jobs(one, state, folder)
