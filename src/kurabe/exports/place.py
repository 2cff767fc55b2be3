"""Where an export is written: a file or a folder that is not there yet."""

from pathlib import Path

from kurabe.errors import UserError
from kurabe.files import check_place


def file_for(out: Path) -> Path:
    """The file of that name; UserError where it is there already or no safetensors file's name."""
    if out.suffix != ".safetensors":
        raise UserError(f"{out}: this format is one file; give --out NAME.safetensors.")
    _free(out)
    check_place(out, folder=False)
    return out


def folder_for(out: Path) -> Path:
    """The folder of that name; UserError where it is there already."""
    _free(out)
    check_place(out, folder=True)
    return out


def _free(out: Path) -> None:
    if out.exists():
        raise UserError(f"{out} is there already; give another --out.")
