"""Where a script's run can be reported besides a file: MLflow and trackio, if they are installed.

`mlflow:STORE` is MLflow's tracking address: a server's http(s)://…, a database's sqlite:///…, or a
folder (which MLflow writes to where MLFLOW_ALLOW_FILE_STORE is true). `trackio:PROJECT` is a
project of trackio. What is written is what `kurabe.outside.trackers` reads.
"""

import contextlib
import io
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from kurabe.errors import UserError

# MLflow's experiment that reports stand in.
EXPERIMENT = "kurabe"


def sink_of(place: str) -> tuple[str, str] | None:
    """The tracker that "tracker:place" names, and the place; None for a path."""
    kind, colon, rest = place.partition(":")
    if not colon or kind not in _SINKS:
        return None
    if not rest:
        raise UserError(f"{place}: name the {_ASKED[kind]} behind the colon.")
    return kind, rest


def send(
    kind: str,
    place: str,
    column: str,
    seed: int,
    values: Mapping[str, float],
    method: str | None,
) -> None:
    """Write a run to a tracker; UserError where it is not installed, or refuses."""
    try:
        module = import_module(kind)
    except ImportError:
        raise UserError(
            f"{kind}:{place} is written by {kind}, which is not installed; pip install {kind}, or "
            "report to a file."
        ) from None
    known = {"kurabe.column": column, "seed": seed, **({"method": method} if method else {})}
    try:
        _SINKS[kind](module, place, f"{column}-seed-{seed}", known, values)
    # What goes wrong inside is the tracker's to say, in a sentence like any other.
    except Exception as error:
        said = " ".join(str(error).split()) or "no reason is given"
        raise UserError(f"{kind}:{place} was not written ({said.rstrip('.')}).") from error


def _mlflow(
    module: Any, place: str, name: str, known: Mapping[str, Any], values: Mapping[str, float]
) -> None:
    client = module.MlflowClient(tracking_uri=place)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    number = (
        client.create_experiment(EXPERIMENT) if experiment is None else experiment.experiment_id
    )
    alike = [
        run
        for run in client.search_runs([number], filter_string=f"attributes.run_name = '{name}'")
        if run.info.status == "FINISHED"
    ]
    if alike:
        raise ValueError(f"there is a run of {known['kurabe.column']} with that seed already")
    tags = {key: str(value) for key, value in known.items() if key != "seed"}
    run = client.create_run(number, run_name=name, tags=tags).info.run_id
    client.log_param(run, "seed", known["seed"])
    for metric, value in values.items():
        client.log_metric(run, metric, value)
    client.set_terminated(run, "FINISHED")


def _trackio(
    module: Any, place: str, name: str, known: Mapping[str, Any], values: Mapping[str, float]
) -> None:
    # What trackio says of its dashboard is not what the script printed.
    with contextlib.redirect_stdout(io.StringIO()):
        module.init(project=place, name=name, config=dict(known), embed=False)
        module.log(dict(values))
        module.finish()


_SINKS = {"mlflow": _mlflow, "trackio": _trackio}
_ASKED = {"mlflow": "tracking store", "trackio": "project"}
