"""Runs by what a person calls them: a folder, an id or its beginning, `latest`. No torch."""

import sys
from dataclasses import dataclass
from pathlib import Path

from kurabe import bases
from kurabe.errors import UserError, refusal
from kurabe.records import Info, RunFolder, find_runs


@dataclass(frozen=True)
class Found:
    """A run and its record as it was read."""

    run: RunFolder
    info: Info


def newest_first(below: Path) -> list[Found]:
    """The runs below a folder, by when they were started.

    A record or folder that cannot be read is named in a line on stderr, and the others go on.
    """
    found: list[Found] = []
    for run in find_runs(below, lambda error: print(refusal(error), file=sys.stderr)):
        try:
            found.append(Found(run, run.info))
        except UserError as error:
            print(error, file=sys.stderr)
    return sorted(found, key=lambda one: one.info.get("started") or "", reverse=True)


def find_run(text: str, below: Path) -> RunFolder:
    """The run that `text` names: a folder, an id or the beginning of one, or `latest`."""
    if RunFolder(text).exists:
        return RunFolder(text)
    found = newest_first(below)
    if text == "latest" and found:
        return found[0].run
    fits = [one for one in found if text and (one.info.get("id") or "").startswith(text)]
    if len(fits) == 1:
        return fits[0].run
    if fits:
        ids = ", ".join(one.info.get("id") or "" for one in fits[:5])
        raise UserError(f'"{text}" fits several runs: {ids}; give more of the id, or the folder.')
    raise UserError(f'No run "{text}" below {below.resolve()}; kurabe runs lists them.')


def source_of(text: str, below: Path) -> str:
    """A base's name or folder as it is; else the folder of the run that `text` names."""
    return text if bases.is_one(text) else str(find_run(text, below).path)
