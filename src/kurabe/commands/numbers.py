"""kurabe numbers: runs that others trained and measured, as a study with marks."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from kurabe.errors import UserError
from kurabe.words import Language, language


def numbers(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="FILE, PEFT's folder, mlflow:, trackio:, wandb:")
    ],
    metric: Annotated[
        list[str] | None, typer.Option("--metric", help="NAME=up or NAME=down,MARGIN; 5% too.")
    ] = None,
    baseline: Annotated[str | None, typer.Option("--baseline", help="Else the first.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The folder to write to.")] = None,
    lang: Annotated[Language | None, typer.Option("--lang", help="Else the locale's.")] = None,
) -> None:
    """Runs that were trained and measured elsewhere, one table with marks. Again adds new seeds."""
    from kurabe.outside.numbers_study import write_study

    given = [_metric(text) for text in metric or ()]
    folder = write_study(source, given, baseline, out)
    _show(folder, language(lang))


def _metric(text: str) -> dict[str, Any]:
    """NAME=up,0.01 as a declared metric; 5% is a share of the smaller of two means."""
    name, _, said = text.rpartition("=")
    found = re.fullmatch(r"(up|down)(?:,\s*([0-9.eE+-]+)(%?))?", said.strip())
    if not name or found is None:
        raise UserError(
            f'--metric {text}: write it like --metric "test accuracy=up,0.01", which says which '
            "way is better and how large a difference matters."
        )
    way, width, percent = found.groups()
    settings: dict[str, Any] = {"id": name.strip(), "better": way}
    if width:
        try:
            value = float(width)
        except ValueError:
            raise UserError(f"--metric {text}: {width} is no number.") from None
        settings["relative" if percent else "margin"] = value / 100 if percent else value
    return settings


def _show(folder: Any, lang: str) -> None:
    from kurabe.comparison import draw_terminal, screen_of, study_table
    from kurabe.comparison.results import read_results
    from kurabe.studies.closing import write_table

    write_table(folder, lang)
    print(draw_terminal(study_table(read_results(folder), lang), screen_of(), ("measured",)))
    print(f"  {folder.page_path}")
