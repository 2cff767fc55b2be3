"""One line at the end of anyone's training script, for `kurabe numbers` to read: a run's numbers.

The schema, one JSON object a line: `schema` 1, `column` (what is compared), `seed`, `metrics` by
name, and where they are known `method` (a card's id) and `status` ("finished", or "failed"). Other
tools may write the same.
"""

from collections.abc import Mapping
from pathlib import Path

from kurabe.errors import UserError
from kurabe.outside.numbers import numbers
from kurabe.outside.sinks import send, sink_of
from kurabe.records import lines

SCHEMA = 1


def write_report(
    place: Path | str,
    column: str,
    seed: int,
    metrics: Mapping[str, float],
    method: str | None,
) -> None:
    """Append a run to a JSON Lines file, or give it to the tracker that "mlflow:…" or "trackio:…"
    names; UserError where a value is no finite number."""
    values = numbers(metrics, f"{place}, {column}, seed {seed}")
    if lost := metrics.keys() - values.keys():
        raise UserError(f"{place}, {column}, seed {seed}: {min(lost)} is not a number.")
    if isinstance(place, str) and (sink := sink_of(place)):
        send(*sink, column, seed, values, method)
        return
    path = Path(place)
    known = [line for line in lines.read(path) if line.get("column") == column]
    if any(line.get("seed") == seed for line in known):
        raise UserError(f"{path} has a run of {column} with seed {seed} already.")
    record = {"schema": SCHEMA, "column": column, "seed": seed, "metrics": values}
    path.parent.mkdir(parents=True, exist_ok=True)
    lines.append(path, {**record, "method": method} if method else record, durable=True)
