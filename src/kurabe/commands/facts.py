"""The commands that need no torch: compare, methods, data."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kurabe.errors import UserError
from kurabe.files import json_bytes
from kurabe.sizes import times
from kurabe.words import Texts, text_of
from kurabe.words.commands import aligned, say

if TYPE_CHECKING:
    from kurabe.records import StudyFolder


def methods(text: str | None, as_json: bool, lang: str) -> None:
    """The catalogue, or the card that `text` names."""
    from kurabe.methods import catalogue, find

    chosen = [find(text)] if text else list(catalogue().values())
    if as_json:
        values = [m.model_dump(mode="json", exclude_none=True) for m in chosen]
        print_json(values[0] if text else values)
    elif text:
        _card(chosen[0], lang)
    else:
        _listing(chosen, lang)


def compare(
    ids: tuple[str, ...], study: str | None, form: str, lang: str, *, facts: bool = False
) -> None:
    """Methods side by side, in the form asked for.

    In a terminal a study's measured rows come first, and its facts where they are asked for.
    """
    from kurabe.comparison import FORMATS, draw_terminal, screen_of

    found = table(ids, study, lang)
    if form == "table":
        screen = screen_of()
        if study is None or not found.group("measured"):
            print(draw_terminal(found, screen))
            return
        print(draw_terminal(found, screen, ("measured", *(("how", "facts") if facts else ()))))
        if not facts:
            print(screen.say("  " + say("compare.facts", lang)))
    else:
        _write(FORMATS[form](found).encode("utf-8", "backslashreplace"))


def table(ids: tuple[str, ...], study: str | None, lang: str) -> Any:
    """The Table of these methods; of a study's columns where only a study is given.

    A study is a folder, its name below this folder, or the name of one that is shipped.
    """
    from kurabe import comparison, records
    from kurabe.methods import SEED, find

    if study is None:
        return comparison.compare([find(text) for text in ids or SEED], lang)
    folder = find_study(study)
    # Of a study that is shipped, commands name the study and not where the package lies.
    place = folder.name if folder.path.parent == records.SHIPPED else str(folder.path)
    results = replace(comparison.read_results(folder), place=place)
    if ids:
        found = comparison.compare([find(text) for text in ids], lang, results)
    else:
        found = comparison.study_table(results, lang)
    for problem in results.unread:
        # The table goes on without.
        print(problem, file=sys.stderr)
    return found


def find_study(text: str) -> "StudyFolder":
    """A study by its folder or its name, shipped ones too; UserError where there is none."""
    from kurabe.records import SHIPPED, StudyFolder

    places = [Path(text), Path(f"{text}-study"), SHIPPED / text]
    for place in places:
        if StudyFolder(place).exists:
            return StudyFolder(place)
    shipped = ", ".join(sorted(p.parent.name for p in SHIPPED.glob("*/study.toml")))
    raise UserError(
        f"There is no study in {text} or {text}-study, and none is shipped under that name"
        f"{f' ({shipped} are)' if shipped else ''}; kurabe study FOLDER makes one."
    )


def check(
    path: str,
    labels: str | None,
    size: int | str | None,
    aspects: str | None,
    as_json: bool,
    lang: str,
) -> None:
    """The preflight's report of a folder, a file or a known set."""
    from kurabe import data

    report = data.check(path, labels=labels, size=size, aspects=aspects)
    if as_json:
        print_json(report.as_dict())
    else:
        print("\n".join(report.lines(lang=lang)))


def get(name: str, lang: str) -> None:
    """Fetch a known set; its licence is shown."""
    from kurabe import data

    known = data.available().get(name)
    if known is None:
        raise UserError(f'No set "{name}"; kurabe data list shows the known ones.')
    images = data.load(name, progress=lambda text: print(f"  {text}", file=sys.stderr))
    licence = f"{say('data.licence', lang)}: {known.licence}"
    shape = f"{times(images.size)}, {say(f'colour.{images.channels}', lang)}"
    print(f"{name}  {say('images', lang, n=f'{len(images):,}')}  {shape}  {licence}")


def sets(lang: str) -> None:
    """The known sets."""
    from kurabe import data

    def said(about: str | Texts) -> str:
        return about if isinstance(about, str) else text_of(about, lang, {})

    rows = [(name, said(known.about), known.licence) for name, known in data.available().items()]
    print("\n".join(aligned(rows)))


def _card(method: Any, lang: str) -> None:
    from kurabe.comparison.drawings.width import wrap

    card = method.card
    print(f"{card.name.of(lang)}  {card.id}\n")
    print("\n".join(wrap(card.summary.of(lang), 88)), end="\n\n")
    print("\n".join(f"  {line}" for line in aligned(_facts(method, lang))), end="\n\n")
    for source in card.sources:
        print(f"  {source.title} ({source.issued})")
    if method.runs:
        print(f"\n  kurabe fit {card.id} --data FOLDER")


def _facts(method: Any, lang: str) -> list[tuple[str, str]]:
    """The card's short rows, as the compare page words them."""
    from kurabe.comparison import compare

    shown = ("field", "proposed_year", "aliases", "proposed_by", "kind")
    rows = {row.key: row for row in compare([method], lang).rows}
    facts = [(rows[key].label, rows[key].cells[0].text) for key in shown if key in rows]
    related = ", ".join(link.text for link in rows["related"].cells[0].items)
    return [*facts, (rows["related"].label, related or "—")]


def _listing(chosen: list[Any], lang: str) -> None:
    def marks(method: Any) -> str:
        return ("●" if method.runs else " ") + (" *" if method.origin else "")

    rows = [(m.card.id, m.card.name.of(lang), marks(m).rstrip()) for m in chosen]
    print("\n".join(aligned(rows)))
    print("\n  ● " + say("methods.run", lang))
    if any(m.origin for m in chosen):
        print("  * " + say("methods.own", lang))


def print_json(value: Any) -> None:
    """Say a value as JSON."""
    _write(json_bytes(value) + b"\n")


def _write(data: bytes) -> None:
    # A file's bytes, whatever the terminal's encoding is.
    sys.stdout.flush()
    buffer = getattr(sys.stdout, "buffer", None)
    if buffer is None:
        sys.stdout.write(data.decode())
    else:
        buffer.write(data)
        buffer.flush()
