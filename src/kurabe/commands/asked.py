"""Values of options that are more than a number or a word."""

import typer

from kurabe.sizes import setting_of


def size(text: str) -> int | str:
    """--size as a recipe says it: 64, or "48x32"."""
    try:
        return setting_of(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
