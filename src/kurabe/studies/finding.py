"""Runs by what a person calls them: a folder, an id or its beginning, `latest`. No torch."""

from pathlib import Path

from kurabe import bases
from kurabe.errors import UserError
from kurabe.records import RunFolder, find_runs


def newest_first(below: Path) -> list[RunFolder]:
    """The runs below a folder, by when they were started."""
    found = list(find_runs(below))
    return sorted(found, key=lambda run: str(run.info.get("started") or ""), reverse=True)


def find_run(text: str, below: Path) -> RunFolder:
    """The run that `text` names: a folder, an id or the beginning of one, or `latest`."""
    if RunFolder(text).exists:
        return RunFolder(text)
    found = newest_first(below)
    if text == "latest" and found:
        return found[0]
    fits = [run for run in found if str(run.info.get("id", "")).startswith(text)]
    if len(fits) == 1:
        return fits[0]
    if fits:
        ids = ", ".join(str(run.info["id"]) for run in fits[:5])
        raise UserError(f'"{text}" fits several runs: {ids}; give more of the id, or the folder.')
    raise UserError(f'No run "{text}" below {below.resolve()}; kurabe runs lists them.')


def source_of(text: str, below: Path) -> str:
    """A base's name as it is; else the folder of the run that `text` names."""
    return text if text in bases.available() else str(find_run(text, below).path)
