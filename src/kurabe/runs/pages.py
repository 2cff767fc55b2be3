"""What was found among a folder's images, as CSV and as one page that needs nothing else."""

import base64
import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader
from PIL import Image

from kurabe.data import ImageSet
from kurabe.files import write_bytes_atomic
from kurabe.runs.labelling import Labelled
from kurabe.runs.looking import Near
from kurabe.words.commands import say

# Images on a page; the CSV holds all.
SHOWN = 500


def write_near(table: Path, page: Path, images: ImageSet, found: Near, lang: str) -> None:
    """The table (file, rank, neighbour, cosine) and the page."""
    rows = [
        (images.ids[i], rank + 1, images.ids[j], f"{cosine:.6f}")
        for i, (own, cosines) in enumerate(zip(found.neighbours, found.cosines, strict=True))
        for rank, (j, cosine) in enumerate(zip(own, cosines, strict=True))
    ]
    _write_csv(table, ("file", "rank", "neighbour", "cosine"), rows)
    shown = range(min(SHOWN, len(images)))
    needed = {*shown, *found.neighbours[: len(shown)].flat, *(k for g in found.alike for k in g)}
    _write_page(page, "near.html", lang, images, needed, {
        "alike": found.alike,
        "rows": [
            (i, list(zip(found.neighbours[i].tolist(), found.cosines[i].tolist(), strict=True)))
            for i in shown
        ],
    })  # fmt: skip


def write_labels(table: Path, page: Path, images: ImageSet, found: Labelled, lang: str) -> None:
    """The table (file, label, probability, given, and a column for each class), and the page on
    which labels are corrected and saved as the CSV to go on with."""
    best = found.probabilities.max(1)
    rows = [
        (
            images.ids[i], found.classes[k], f"{found.probabilities[i, k]:.6f}",
            "yes" if found.given[i] >= 0 else "no", *(f"{p:.6f}" for p in found.probabilities[i]),
        )
        for i, k in enumerate(found.guess)
    ]  # fmt: skip
    header = ("file", "label", "probability", "given", *(f"p({name})" for name in found.classes))
    _write_csv(table, header, rows)
    shown = found.order[:SHOWN].tolist()
    known = np.flatnonzero(found.given >= 0).tolist()
    _write_page(page, "label.html", lang, images, {*shown}, {
        "classes": found.classes,
        "rows": [(i, int(found.probabilities[i].argmax()), float(best[i])) for i in shown],
        "left": len(found.order) - len(shown),
        "known": [(images.ids[i], found.classes[found.given[i]]) for i in known],
    })  # fmt: skip


def _write_csv(path: Path, header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_bytes_atomic(path, text.getvalue().encode())


def _write_page(
    path: Path, template: str, lang: str, images: ImageSet, needed: set[int], shown: dict[str, Any]
) -> None:
    environment = Environment(loader=PackageLoader("kurabe.runs"), autoescape=True)
    pictures = {int(k): _png(images.pixels[k]) for k in needed}

    def said(key: str, **values: Any) -> str:
        return say(key, lang, **values)

    page = environment.get_template(template).render(
        lang=lang, say=said, ids=images.ids, pictures=pictures, total=len(images), name=images.name,
        **shown,
    )  # fmt: skip
    write_bytes_atomic(path, page.encode())


def _png(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
