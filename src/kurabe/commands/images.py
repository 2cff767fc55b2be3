"""The commands on a folder's images by a run's features: label, nearest."""

from pathlib import Path
from typing import Annotated

import typer

from kurabe.errors import UserError
from kurabe.files import check_place
from kurabe.records import RunFolder
from kurabe.words import Language, language
from kurabe.words.commands import say

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A folder, an id, or latest.")]
Data = Annotated[str, typer.Option("--data", help="A folder, zip, Parquet file or known name.")]
Draws = Annotated[int, typer.Option(min=1, max=1000, help="Noise draws to average over.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")]
Below = Annotated[Path, typer.Option("--runs", help="Where runs lie.")]
Lang = Annotated[Language | None, typer.Option("--lang", help="Else the locale's.")]


def label(
    run: RunArgument,
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="A .csv; a page beside it as .html.")],
    labels: Annotated[
        Path | None, typer.Option("--labels", help="A CSV: file,label. Else class folders.")
    ] = None,
    draws: Draws = 4,
    device: Device = "auto",
    below: Below = Path(),
    lang: Lang = None,
) -> None:
    """Label all images from a few labels, with probabilities and a page to correct them."""
    from kurabe.commands.running import told_left
    from kurabe.data import load
    from kurabe.runs.labelling import label_images
    from kurabe.runs.names import source_of
    from kurabe.runs.pages import write_labels
    from kurabe.runs.precision import settled_device
    from kurabe.training import load_model

    table, page = _pair(out)
    model = load_model(source_of(run, below), settled_device(device))
    given = None if labels is None else str(labels)
    images = load(data, size=model.image_size, channels=model.channels, labels=given, copies=True)
    found = label_images(model, images, draws)
    spoken = language(lang)
    write_labels(table, page, images, found, spoken)
    known = int((found.given >= 0).sum())
    place = found.place
    where = f"{place.layer}, log-SNR {place.log_snr:g}, {place.grid}×{place.grid}"
    print(say(
        "done.label", spoken, n=len(images) - known, given=known, classes=len(found.classes),
        table=table, page=page, where=where,
    ))  # fmt: skip
    told_left(images, spoken)


def nearest(
    run: RunArgument,
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="An .html; a table beside it as .csv.")],
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="Neighbours of each image.")] = 5,
    draws: Draws = 4,
    device: Device = "auto",
    below: Below = Path(),
    lang: Lang = None,
) -> None:
    """Show each image's nearest by a run's features, and near-duplicates."""
    from kurabe.commands.running import told_left
    from kurabe.data import load
    from kurabe.runs.embedding import Wanted, embed_images
    from kurabe.runs.looking import near
    from kurabe.runs.names import source_of
    from kurabe.runs.pages import write_near
    from kurabe.runs.precision import settled_device
    from kurabe.training import load_model

    table, page = _pair(out)
    place = source_of(run, below)
    model = load_model(place, settled_device(device))
    images = load(data, size=model.image_size, channels=model.channels, copies=True)
    embedding = embed_images(model, images, Wanted(None, None, None, draws), RunFolder(place))
    found = near(images, embedding.vectors, k)
    spoken = language(lang)
    write_near(table, page, images, found, spoken)
    print(say(
        "done.near", spoken, n=len(images), groups=len(found.alike), table=table, page=page,
        where=embedding.described,
    ))  # fmt: skip
    told_left(images, spoken)


def _pair(out: Path) -> tuple[Path, Path]:
    """A table and a page that stand side by side under one name."""
    if out.suffix not in (".csv", ".html"):
        raise UserError(f"--out {out}: end it in .csv or .html; both are written.")
    table, page = out.with_suffix(".csv"), out.with_suffix(".html")
    for path in (table, page):
        check_place(path, folder=False)
    return table, page
