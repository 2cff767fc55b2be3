"""kurabe adapter: what an adapter's file is, and whether it fits a base."""

from pathlib import Path
from typing import Annotated

import typer

from kurabe.words import Language, language

adapters = typer.Typer(help="Look into an adapter's file.")


@adapters.callback()
def _group() -> None:
    """Look into an adapter's file."""


@adapters.command("check")
def adapter_check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .safetensors, or its folder.")],
    base: Annotated[str, typer.Option("--base", help="A shipped base, a run or a folder.")],
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    lang: Annotated[Language | None, typer.Option("--lang", help="Else the locale's.")] = None,
) -> None:
    """Tensors that fit, those that are lost and why, and how much the drawn images change."""
    from kurabe.commands.facts import print_json
    from kurabe.exports.check import check
    from kurabe.words.commands import say

    found, own = check(file, base), language(lang)
    if json:
        print_json(found.as_dict())
        return
    print(say("adapter.fits", own, n=len(found.fits), of=found.tensors, base=base))
    for name, why in found.lost.items():
        print(f"  {name}: {why}")
    key = "adapter.changes" if found.largest else "adapter.same"
    mean = f"{found.mean:.2f}"
    print(say(key, own, n=found.images, mean=mean, largest=found.largest))
    for name, value in found.said.items():
        print(f"  {name} = {value}")
