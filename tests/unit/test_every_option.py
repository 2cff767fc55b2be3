"""Every option of every command, with values that it cannot have: one sentence and exit code 2."""

from enum import Enum

import pytest
import typer.main

from kurabe.cli import answer, app

FOREIGN = ("Input should", "Value error", "Traceback", "valid integer", "Invalid value")


def commands(group, above: tuple[str, ...] = ()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*above, name))
        else:
            yield (*above, name), command


def issubclass_of(kind: object, *kinds: type) -> bool:
    return isinstance(kind, type) and kind is not bool and issubclass(kind, kinds)


def cases():
    """Words of each command, an option of it that is a number or a choice, and bad values."""
    for words, command in commands(typer.main.get_command(app)):
        needed = [
            part
            for parameter in command.params
            if parameter.required
            for part in (
                ["x"] if parameter.param_type_name == "argument" else [parameter.opts[0], "x"]
            )
        ]
        for parameter in command.params:
            kind = parameter.type_descriptor.annotation
            if parameter.param_type_name == "option" and issubclass_of(kind, int, float, Enum):
                option = parameter.opts[0]
                yield pytest.param(words, needed, option, id=f"{' '.join(words)} {option}")


@pytest.mark.parametrize(("words", "needed", "option"), list(cases()))
def test_a_value_that_an_option_cannot_have(words, needed, option, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for odd in ("x", "1.5.2", "99999999999999999999999", "nan nan"):
        assert answer([*words, *needed, option, odd]) == 2, odd
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and option in error, error
        assert f"kurabe {' '.join(words)} --help" in error, error
        assert not any(word in error for word in FOREIGN), error
    assert answer([*words, *needed, option]) == 2
    assert option in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
