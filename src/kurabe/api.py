"""The five functions of `import kurabe`: fit, study, compare, load, report.

No torch is imported before a function needs it; `compare` never does.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kurabe.comparison import Table
    from kurabe.runs.loaded import LoadedRun


def fit(method: str, data: str | Path, **options: Any) -> "LoadedRun":
    """Train one method once on images, or go on with it, and load the result.

    Options are those of `kurabe fit`: base, seed, budget ("5min", "200kimg"), size, channels,
    device, processes, settings (a nested dict of recipe settings), and out, the folder to write to.

    >>> import kurabe
    >>> kurabe.fit("lorra", "digits")
    Traceback (most recent call last):
    kurabe.errors.UserError: No method "lorra". Did you mean lora or t-lora?
    """
    from kurabe.studies.single import Single, fit_single

    out = options.pop("out", None)
    wanted = Single(method, str(data), **options)
    return load(fit_single(wanted, Path(out) if out else None, _language()).path)


def study(source: str | Path, **options: Any) -> "Table":
    """Run a study of a folder of images or a study's file, or go on with it; its table.

    Options are those of `kurabe study`: add, labels, base, budget, seeds, out, size, channels,
    on ("ray" for a cluster's nodes).

    >>> import kurabe
    >>> kurabe.study("nowhere.toml")
    Traceback (most recent call last):
    kurabe.errors.UserError: nowhere.toml does not exist.
    """
    from kurabe.studies.begin import Request
    from kurabe.studies.carry_out import carry_out

    if "out" in options:
        options["out"] = Path(options["out"])
    folder = carry_out(Request(str(source), **options), _language())
    return compare(study=folder.path)


def compare(*ids: str, study: str | Path | None = None, lang: str | None = None) -> "Table":
    """Methods side by side; with a study, its measured rows and verdicts too.

    >>> import kurabe
    >>> table = kurabe.compare("lora", "ddpm", lang="en")
    >>> [column.name for column in table.columns]
    ['LoRA (low-rank adaptation)', 'DDPM (from scratch)']
    """
    from kurabe.commands.facts import table

    return table(ids, None if study is None else str(study), lang or _language())


def load(run: str | Path, device: str = "auto") -> "LoadedRun":
    """A run (a folder, an id, "latest") or a base, ready to sample and embed.

    >>> import kurabe
    >>> kurabe.load("emoji-32").sample(1).dtype
    dtype('uint8')
    """
    from kurabe.runs.loaded import load_run

    return load_run(str(run), device)


def report(
    path: str | Path,
    column: str,
    *,
    seed: int,
    metrics: "Mapping[str, float]",
    method: str | None = None,
) -> None:
    """Write a run's numbers as one more line of a JSON Lines file, at the end of any script.

    `kurabe numbers PATH --metric NAME=up` makes a table with marks of it. path: "mlflow:STORE" or
    "trackio:PROJECT" gives the run to that tracker, if it is installed. column: what is compared;
    seed: the run's, one block; method: the id of a card, where there is one. UserError where the
    file has that run already, or a value is no finite number.
    """
    from kurabe.outside.report import write_report

    write_report(path, column, seed, metrics, method)


def _language() -> str:
    from kurabe.words import language

    return language()
