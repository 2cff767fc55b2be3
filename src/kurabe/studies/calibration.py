"""How many images a second each column trains on here: what turns seconds into images, once.

As many copies run at once as the study has workers, each on its own threads, so that the speed is
the one that the runs will have; a column's rate is the mean over the copies. A copy is
`python -m kurabe.studies.calibration STUDYFOLDER`, which prints {column: images/s}.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from kurabe.errors import RunFailed, UserError
from kurabe.studies.state import StudyState
from kurabe.studies.study import Column, Study

# About what one column's measurement takes, torch's start apart; shown before it begins.
SECONDS_EACH = 4
SECONDS_START = 8


def missing(study: Study, state: StudyState) -> tuple[Column, ...]:
    """The columns that train and have no speed yet."""
    return tuple(c for c in study.columns if study.trained(c) and c.id not in state.rates)


def calibrate(study: Study, state: StudyState, workers: int) -> dict[str, float]:
    """Images per second of every column without a speed.

    UserError where a column's settings do not fit, RunFailed where a copy fails otherwise.
    """
    with tempfile.TemporaryDirectory() as place:
        study.save(Path(place) / "study.toml")
        state.write(Path(place) / "study.json")
        measured = _all_copies(Path(place), study.threads, workers)
    return {key: sum(m[key] for m in measured) / len(measured) for key in measured[0]}


def _all_copies(folder: Path, threads: int, count: int) -> list[dict[str, float]]:
    command = [sys.executable, "-m", "kurabe.studies.calibration", str(folder)]
    copies = [
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            env=process_environment(threads),
        )
        for _ in range(count)
    ]
    try:
        answers = [copy.communicate() for copy in copies]
    finally:
        for copy in copies:
            copy.kill()
    for copy, (_, error) in zip(copies, answers, strict=True):
        if copy.returncode:
            reason = error.strip().splitlines()[-1] if error.strip() else "no reason given"
            kind = UserError if copy.returncode == UserError.exit_code else RunFailed
            raise kind(reason)
    return [json.loads(out.strip().splitlines()[-1]) for out, _ in answers]


def process_environment(threads: int) -> dict[str, str]:
    """The environment of a process that computes on that many threads."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(names, str(threads))}


def _measure(folder: Path) -> dict[str, float]:
    import torch

    from kurabe import training
    from kurabe.studies.images import load_images

    study = Study.from_toml(folder / "study.toml")
    state = StudyState.read(folder / "study.json")
    torch.set_num_threads(study.threads)
    images = load_images(study.data)
    # Any budget will do to measure a speed.
    settled = StudyState(rates=dict.fromkeys((c.id for c in study.columns), 1.0))
    return {
        column.id: training.calibrate(study.recipe(column, 1, settled), images)
        for column in missing(study, state)
    }


if __name__ == "__main__":
    try:
        print(json.dumps(_measure(Path(sys.argv[1]))))
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(UserError.exit_code)
