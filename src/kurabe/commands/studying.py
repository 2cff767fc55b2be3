"""kurabe study and kurabe demo."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kurabe.errors import KurabeError, sentence
from kurabe.studies.begin import RECIPES, Request
from kurabe.studies.carry_out import carry_out
from kurabe.words.commands import say

DEMO = Path("kurabe-demo")


def study(request: Request, dry_run: bool, yes: bool, lang: str) -> None:
    """Plan, ask where there is someone to ask, run, and end with the table."""
    asks = sys.stdin.isatty() and sys.stdout.isatty() and not yes
    with _told_how_to_go_on(lang):
        carry_out(request, lang, dry_run=dry_run, ask=_ask if asks else None, show=_show)


def demo(
    out: Path | None, seeds: int | None, seed: int, device: str | None, dry_run: bool, lang: str
) -> None:
    """The shipped demo study; with the embedded digits only where nothing can be fetched."""
    out = out or (DEMO if seed == 0 else Path(f"{DEMO}-{seed}"))
    recipe = "demo"
    try:
        _fetch()
    except (KurabeError, OSError) as error:
        _show("  " + say("demo.digits", lang, why=sentence(error).rstrip(".")))
        recipe = "demo-digits"
    source = str(out if (out / "study.toml").is_file() else RECIPES / f"{recipe}.toml")
    request = Request(source=source, seeds=seeds, out=out, first_seed=seed, device=device)
    with _told_how_to_go_on(lang):
        carry_out(request, lang, dry_run=dry_run, show=_show)


def _fetch() -> None:
    """Have the demo's drawings in the cache; KurabeError or OSError where not."""
    from kurabe.runs.images import load_images
    from kurabe.studies.study import Study

    load_images(Study.from_toml(RECIPES / "demo.toml").data)


@contextmanager
def _told_how_to_go_on(lang: str) -> Iterator[None]:
    """What goes on after Ctrl-C is the command that was typed, with all its options."""
    try:
        yield
    except KeyboardInterrupt:
        command = shlex.join(["kurabe", *sys.argv[1:]])
        print("\n" + say("interrupted", lang, command=command), file=sys.stderr)
        raise


def _ask(question: str) -> bool:
    return input(question).strip().lower() in ("", "y", "yes", "はい")


def _show(text: str) -> None:
    print(text, flush=True)
