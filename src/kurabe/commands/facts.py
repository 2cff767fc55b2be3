"""The commands that need no torch: compare, methods, data."""

import json
import sys
from typing import Any

from kurabe.errors import UserError


def methods(text: str | None, as_json: bool, lang: str) -> None:
    """The catalogue, or the card that `text` names."""
    from kurabe.methods import catalogue, find

    chosen = [find(text)] if text else list(catalogue().values())
    if as_json:
        values = [m.model_dump(mode="json", exclude_none=True) for m in chosen]
        _print_json(values[0] if text else values)
    elif text:
        _card(chosen[0], lang)
    else:
        _listing(chosen, lang)


def check(path: str, labels: str | None, as_json: bool) -> None:
    """The preflight's report of a folder, a file or a known set."""
    from kurabe import data

    report = data.check(path, labels=labels)
    if as_json:
        _print_json(report.as_dict())
    else:
        print("\n".join(report.lines()))


def get(name: str, lang: str) -> None:
    """Fetch a known set; its licence is shown."""
    from kurabe import data
    from kurabe.words import say

    known = data.available().get(name)
    if known is None:
        raise UserError(f'No set "{name}"; kurabe data list shows the known ones.')
    images = data.load(name, progress=lambda text: print(f"  {text}", file=sys.stderr))
    licence = f"{say('data.licence', lang)}: {known.licence}"
    shape = f"{images.size}×{images.size}, {say(f'colour.{images.channels}', lang)}"
    print(f"{name}  {say('images', lang, n=f'{len(images):,}')}  {shape}  {licence}")


def sets() -> None:
    """The known sets."""
    from rich.console import Console
    from rich.table import Table

    from kurabe import data

    table = Table(box=None, show_header=False, pad_edge=False)
    for name, known in data.available().items():
        table.add_row(name, known.about, known.licence)
    Console().print(table)


def _card(method: Any, lang: str) -> None:
    from rich.console import Console
    from rich.table import Table

    card = method.card
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    table.add_row(getattr(card.name, lang), card.id)
    console = Console()
    console.print(table)
    console.print(getattr(card.summary, lang))
    if method.runs:
        console.print(f"kurabe fit {card.id} --data FOLDER", style="dim")


def _listing(chosen: list[Any], lang: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    for method in chosen:
        name = getattr(method.card.name, lang)
        table.add_row(method.card.id, name, "" if method.runs else "—")
    Console().print(table)


def _print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=1))
