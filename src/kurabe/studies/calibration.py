"""How many images a second each column trains on here: what turns seconds into images at first.

As many copies run at once as the study has workers, each as many processes and threads as a run,
so that the speed is the one that the runs will have; in each the columns take turns, and a column's
rate is the mean over the copies. Columns with one step graph are measured once and have one rate.
A copy is `python -m kurabe.studies.calibration STUDYFOLDER`, which prints {column: [images/s,
bytes that its run keeps]}. What finished runs add to it: `kurabe.studies.speeds`.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
import traceback
from dataclasses import replace
from pathlib import Path

from kurabe.errors import RunFailed, UserError, sentence
from kurabe.execution.engine import Engine, Need
from kurabe.execution.local import process_environment
from kurabe.recipe import Recipe
from kurabe.runs.bases import find_base, network_of
from kurabe.runs.processes import free_ports, ranks
from kurabe.studies.jobs import need_of
from kurabe.studies.state import StudyState
from kurabe.studies.study import Column, Study

# About what one column's measurement takes, torch's start apart; shown before it begins.
SECONDS_EACH = 4
SECONDS_START = 8


def step_graph(study: Study, column: Column) -> str:
    """A digest of what an update of the column computes: two columns that share it are as fast."""
    recipe = study.recipe(column, 1, StudyState(rates={column.id: 1.0}))
    network = recipe.network.model_dump()
    if recipe.base is not None:
        of_base = network_of(find_base(recipe.base), _prompt(recipe))
        same = of_base.get("kind") == network["kind"]
        network = network | of_base if same else of_base
    # These say what an output means, not how it is computed.
    meaning = ("schedule", "prediction", "scheduler")
    shape = {k: v for k, v in network.items() if k not in meaning}
    choices, settings = recipe.choices, recipe.optimiser
    told = (
        shape,
        choices.adaptation.model_dump(),
        [term.model_dump() for term in choices.objective],
        settings.model_dump(include={"kind", "batch", "micro_batch"}),
        recipe.where.model_dump(exclude={"trackers"}),
    )
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def _prompt(recipe: Recipe) -> str | None:
    network = recipe.network
    told = network.told
    return None if told is None else told.text


def alike(study: Study) -> dict[str, tuple[str, ...]]:
    """For each column that trains, all columns of its step graph, itself among them."""
    graphs = {c.id: step_graph(study, c) for c in study.columns if study.trained(c)}
    return {
        key: tuple(other for other, of in graphs.items() if of == graph)
        for key, graph in graphs.items()
    }


def missing(study: Study, state: StudyState) -> tuple[Column, ...]:
    """The columns that train and have no speed yet."""
    return tuple(c for c in study.columns if study.trained(c) and c.id not in state.rates)


def to_measure(study: Study, state: StudyState) -> tuple[Column, ...]:
    """Of the columns without a speed, the first of each step graph that no other column has."""
    without, families = missing(study, state), alike(study)
    return tuple(
        c
        for c in without
        if not any(other in state.rates for other in families[c.id])
        and c.id == next(o.id for o in without if o.id in families[c.id])
    )


def calibrate(study: Study, state: StudyState, engine: Engine) -> dict[str, float]:
    """Images per second of every column without a speed; the state learns what their runs keep.

    UserError where a column's settings do not fit, RunFailed where a copy fails otherwise.
    """
    known = dict(state.rates)
    families = alike(study)
    if to_measure(study, state):
        for key, (rate, kept) in _measured(study, state, engine).items():
            known[key] = rate
            state.kept_bytes |= dict.fromkeys(families[key], round(kept))
    return {
        c.id: next(known[other] for other in families[c.id] if other in known)
        for c in missing(study, state)
    }


def _measured(study: Study, state: StudyState, engine: Engine) -> dict[str, tuple[float, float]]:
    need = need_of(study)
    copies = engine.beside(need, study.workers)
    together = replace(need, threads=copies * need.threads)
    measured = engine.there(_all_copies, study, state, copies, need=together)
    rates = {key: sum(m[key][0] for m in measured) / len(measured) for key in measured[0]}
    return {key: (rate, measured[0][key][1]) for key, rate in rates.items()}


def _all_copies(
    study: Study, state: StudyState, count: int
) -> list[dict[str, tuple[float, float]]]:
    with tempfile.TemporaryDirectory() as place:
        study.save(Path(place) / "study.toml")
        state.write(Path(place) / "study.json")
        return _answers(Path(place), need_of(study), count)


def _answers(folder: Path, need: Need, count: int) -> list[dict[str, tuple[float, float]]]:
    command = [sys.executable, "-P", "-m", "kurabe.studies.calibration", str(folder)]
    copies = [
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            env=process_environment(need.threads) | ranks(rank, need.processes, port),
        )
        for port in free_ports(count)
        for rank in range(need.processes)
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


def _measure(folder: Path) -> dict[str, tuple[float, float]]:
    import torch

    from kurabe import training
    from kurabe.runs.images import load_images

    study = Study.from_toml(folder / "study.toml")
    state = StudyState.read(folder / "study.json")
    torch.set_num_threads(study.threads)
    images = load_images(study.data)
    # Any budget will do to measure a speed.
    settled = StudyState(rates=dict.fromkeys((c.id for c in study.columns), 1.0))
    recipes = {c.id: study.recipe(c, 1, settled) for c in to_measure(study, state)}
    measured = training.calibrate(recipes, images)
    return {key: (of.rate, of.kept_bytes) for key, of in measured.items()}


if __name__ == "__main__":
    try:
        print(json.dumps(_measure(Path(sys.argv[1]))))
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(UserError.exit_code)
    except Exception as error:
        traceback.print_exc()
        # The last line is what the command says.
        print(sentence(error), file=sys.stderr)
        sys.exit(RunFailed.exit_code)
