"""Values of options that are more than a number or a word, and what is said of wrong ones."""

import re
from enum import StrEnum

import typer

from kurabe.errors import plainly
from kurabe.sizes import aspects_of, setting_of


class Question(StrEnum):
    """What a study of columns from elsewhere answers."""

    methods = "methods"
    checkpoints = "checkpoints"


def size(text: str) -> int | str:
    """--size as a recipe says it: 64, or "48x32"."""
    try:
        return setting_of(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def aspects(text: str) -> str:
    """--aspects as ratios: "1:1,3:2"."""
    try:
        return ",".join(aspects_of(text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def mistake(error: typer.TyperException) -> str:
    """What is wrong with a command line, in one sentence, and where help on it is."""
    said = error.format_message().rstrip(".")
    if match := re.fullmatch(r"Invalid value for '(.+?)': (.+)", said, re.DOTALL):
        reason = plainly(match[2])
        said = f"{match[1]} {reason}" if reason.startswith("must ") else f"{match[1]}: {reason}"
    elif match := re.fullmatch(r"Missing (?:argument|option|parameter) '(.+)'", said):
        said = f"{match[1]} is missing"
    elif match := re.fullmatch(r"Option '(.+)' requires .*", said):
        said = f"{match[1]} needs a value behind it"
    elif match := re.fullmatch(r"Got unexpected extra arguments?(?:\(s\))? \((.+)\)", said):
        said = f"{match[1]} is more than this command takes"
    context = getattr(error, "ctx", None)
    return f"{said}; {context.command_path if context else 'kurabe'} --help shows what there is."
