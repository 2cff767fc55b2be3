"""samples.html: the newest sample grid of every run, growing while the study runs.

Tile k of every grid is drawn from the starting noise of the same seed. Small images are enlarged
by whole pixels, so nothing is smoothed. The page reloads itself while runs last, needs no script,
and points at the grids in the run folders rather than copying them.
"""

import os
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from kurabe.execution.job import Job
from kurabe.files import write_text_atomic
from kurabe.sizes import sides_of
from kurabe.words.commands import say

# Tiles are shown at least this wide, in pixels of the page.
TILE = 64
SEEN = re.compile(r"\d{10}")

_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 90rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
.row { display: flex; flex-wrap: wrap; gap: 1.2rem; align-items: flex-start; }
figure { margin: 0; max-width: 100%; overflow-x: auto; }
figcaption { font-size: .85rem; opacity: .8; }
img { image-rendering: pixelated; display: block; }
"""


def write_gallery(
    path: Path, name: str, jobs: Sequence[Job], names: dict[str, str], lang: str, growing: bool
) -> None:
    """Write the page: a section a block, the columns side by side. `growing` makes it reload."""
    blocks = sorted({job.block for job in jobs if job.block is not None})
    refresh = '<meta http-equiv="refresh" content="10">' if growing else ""
    title = escape(say("samples.title", lang, name=name))
    parts = [
        f'<!doctype html><html lang="{lang}"><head><meta charset="utf-8">{refresh}'
        f'<meta name="viewport" content="width=device-width"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1>"
        f"<p>{escape(say('samples.note', lang))} {escape(say('samples.short', lang))}</p>"
    ]
    for block in blocks:
        figures = "".join(
            _figure(path.parent, job, names[job.column.id], lang)
            for job in jobs
            if job.block == block
        )
        heading = escape(say("run.block", lang, n=block))
        parts.append(f'<section><h2>{heading}</h2><div class="row">{figures}</div></section>')
    write_text_atomic(path, "".join(parts) + "</body></html>\n")


def _figure(root: Path, job: Job, name: str, lang: str) -> str:
    grids = job.folder.sample_grids() or job.folder.sample_grids("progress")
    if not grids:
        body, seen = f"<p>{escape(say('samples.none', lang))}</p>", ""
    else:
        with Image.open(grids[-1]) as image:
            width, height = image.size
        factor = max(1, -(-TILE // max(sides_of(job.recipe.data.size or 32))))
        source = quote(os.path.relpath(grids[-1], root).replace(os.sep, "/"))
        body = (
            f'<img src="{source}" width="{width * factor}" height="{height * factor}" '
            f'alt="{escape(name)}">'
        )
        count = int(SEEN.findall(grids[-1].name)[0])
        seen = " · " + escape(say("samples.seen", lang, n=f"{count:,}"))
    return f"<figure><figcaption>{escape(name)}{seen}</figcaption>{body}</figure>"
