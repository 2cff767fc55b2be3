"""A study from its plan to its table: plan, calibration, trials, runs, table, what comes next.

Everything here may be stopped at any instant and begun again by the same command: speeds and
learning rates are kept in study.json, runs in their folders.
"""

import shlex
import time
from collections.abc import Callable, Sequence

from kurabe import registry
from kurabe.execution.engine import Engine
from kurabe.execution.job import Job, check_finished
from kurabe.execution.pool import Pool, Running, run_jobs
from kurabe.records import StudyFolder
from kurabe.records.lock import writing
from kurabe.runs.images import check_same_images, check_told, load_images, split_images
from kurabe.runs.teachers import check_measured_by_another
from kurabe.studies import begin, calibration, disk, outside_columns, plan, speeds, trials
from kurabe.studies.closing import closing, write_table
from kurabe.studies.gallery import write_gallery
from kurabe.studies.jobs import block_jobs, gpu_bytes, need_of, read_by, renew, runs_at_once
from kurabe.studies.progress import Board, Clock, beside_training
from kurabe.studies.state import StudyState
from kurabe.studies.study import Study
from kurabe.words.commands import say

# How often samples.html is written anew while runs last, in seconds.
GALLERY_EVERY = 5.0

Show = Callable[[str], None]


def carry_out(
    request: begin.Request,
    lang: str,
    *,
    dry_run: bool = False,
    ask: Callable[[str], bool] | None = None,
    show: Show = print,
) -> StudyFolder:
    """Begin or continue the study asked for; its folder, with the table in it, comes back.

    `ask` puts the question whether to start now; None starts at once. UserError where the
    request is wrong, RunFailed where no run finished, KeyboardInterrupt with all saved.
    """
    with registry.load("engines", request.on)() as engine:
        return _carried_out(request, engine, lang, dry_run, ask, show)


def _carried_out(
    request: begin.Request,
    engine: Engine,
    lang: str,
    dry_run: bool,
    ask: Callable[[str], bool] | None,
    show: Show,
) -> StudyFolder:
    study, state, folder = begin.begin(request, engine)
    images = load_images(study.data)
    begun = list(folder.runs().values())
    check_same_images(begun, images, study.data.source)
    for column in study.columns:
        recipe = study.recipe(column, 1, state)
        check_told(recipe.choices, images)
        check_measured_by_another(recipe)
    split = split_images(images, study.tested, study.first_seed)
    folder.path.mkdir(parents=True, exist_ok=True)
    with writing(folder.path / ".lock"):
        engine.check(folder.path, read_by(study), need_of(study))
        for line in plan.about_images(study, images, split, lang):
            show(line)
        for line in plan.about_own_settings(study, lang):
            show(line)
        for line in outside_columns.about(study, images, lang):
            show(line)
        if not begun:
            _forget_other_speeds(study, state)
        _calibrate(study, state, engine, lang, show)
        if not begun:
            study.save(folder.study_path)
            state.write(folder.state_path)
        if study.columns:
            show(plan.about_runs(study, state, folder, engine, lang))
        for line in (
            *plan.about_marks(study, lang),
            *disk.about(study, state, folder, engine, lang),
        ):
            show(line)
        written = str(folder.study_path)
        if dry_run:
            show(plan.line(say("plan.written", lang), say("plan.dry", lang, path=written)))
            return folder
        if ask is None or not plan.unfinished(study, folder):
            show(plan.line(say("plan.written", lang), written))
        elif not ask(plan.line(say("plan.written", lang), say("plan.start", lang, path=written))):
            show(say("plan.later", lang, command=f"kurabe study {shlex.quote(str(folder.path))}"))
            return folder
        if begun:
            # More columns or blocks are asked for; a look at their price alone changes nothing.
            study.save(folder.study_path)
        else:
            # The file may have been edited while the question stood.
            study = Study.from_toml(folder.study_path)
            _forget_other_speeds(study, state)
        _calibrate(study, state, engine, lang, show)
        state.write(folder.state_path)
        outside_columns.measured(study, images, folder, lang, show)
        run_study(study, state, folder, engine, lang, show)
    return folder


def run_study(
    study: Study,
    state: StudyState,
    folder: StudyFolder,
    engine: Engine,
    lang: str,
    show: Show = print,
) -> None:
    """Run what the study lacks, rewriting table and samples as runs end, then say what came out.

    RunFailed where not one run finished.
    """
    samples = folder.path / "samples.html"
    if plan.unfinished(study, folder):
        shown = say("samples.growing", lang, path=samples)
        show("\n" + plan.line(say("samples", lang), shown))
    with Pool(engine) as pool:
        jobs = _run_all(study, state, folder, lang, pool)
    check_finished(jobs)
    unread = write_table(folder, lang)
    for line in (*unread, *closing(study, state, folder, jobs, lang)):
        show(line)


def _run_all(
    study: Study, state: StudyState, folder: StudyFolder, lang: str, pool: Pool
) -> list[Job]:
    """Rates first where they are to be found, then every run of the blocks; these come back."""
    _try_rates(study, state, folder, lang, pool)
    samples = folder.path / "samples.html"
    jobs = block_jobs(study, state, folder)
    names = study.short_names(lang)

    def draw(growing: bool) -> None:
        write_gallery(samples, study.name, jobs, names, lang, growing)

    def settle(job: Job) -> None:
        if pool.engine.shares_gpus:
            job.gpu_bytes = gpu_bytes(study, jobs, job.column)
        # First the speeds, then what follows from them: a kill in between loses nothing.
        if job.block is not None and speeds.settle(study, state, jobs, job.block):
            state.write(folder.state_path)
            renew(study, state, jobs, job.block)

    at_once = max(1, runs_at_once(study, pool.engine))
    clock = Clock(state.rates, at_once, beside_training(study.evaluation, state.rates))
    try:
        _execute(jobs, study, pool, clock, lang, draw, lambda: write_table(folder, lang), settle)
    finally:
        draw(False)
    return jobs


def _try_rates(study: Study, state: StudyState, folder: StudyFolder, lang: str, pool: Pool) -> None:
    """Find the learning rates that are still to be found, and keep them."""
    at_once = max(1, runs_at_once(study, pool.engine))
    rest = plan.block_seconds(study, state, folder) / at_once

    def execute(pending: Sequence[Job]) -> None:
        clock = Clock(state.rates, at_once, 0.0, later=rest)
        nothing = (lambda growing: None, lambda: None, lambda job: None)
        _execute(pending, study, pool, clock, lang, *nothing)

    if found := trials.search(study, state, folder, execute):
        state.learning_rates |= found
        state.write(folder.state_path)


def _execute(
    jobs: Sequence[Job],
    study: Study,
    pool: Pool,
    clock: Clock,
    lang: str,
    draw: Callable[[bool], None],
    tabulate: Callable[[], object],
    before: Callable[[Job], None],
) -> None:
    for job in jobs:
        if job.finished:
            clock.learn(job)
    drawn = 0.0

    with Board(jobs, clock, study.short_names(lang), lang) as board:

        def look(running: Sequence[Running]) -> None:
            nonlocal drawn
            board.look(running)
            if time.monotonic() - drawn > GALLERY_EVERY:
                draw(True)
                drawn = time.monotonic()

        def ended(job: Job) -> None:
            board.ended(job)
            tabulate()

        run_jobs(jobs, study.workers, pool, look, ended, before)


def _calibrate(study: Study, state: StudyState, engine: Engine, lang: str, show: Show) -> None:
    """Give every column that trains a speed, measured at most once in the study's life."""
    if calibration.missing(study, state):
        if measured := calibration.to_measure(study, state):
            seconds = calibration.SECONDS_START + calibration.SECONDS_EACH * len(measured)
            show(plan.line("", say("calibrating", lang, seconds=seconds)))
        rates = calibration.calibrate(study, state, engine)
        state.add_rates(rates, study.speed_key)


def _forget_other_speeds(study: Study, state: StudyState) -> None:
    """Speeds from before an edit of what they depend on are measured again."""
    if state.speeds_of not in (None, study.speed_key):
        state.rates, state.speeds_of = {}, None
