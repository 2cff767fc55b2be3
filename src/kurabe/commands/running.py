"""The commands on single runs: fit, runs, sample, embed, evaluate."""

import io
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kurabe.errors import UserError
from kurabe.files import check_place, write_bytes_atomic
from kurabe.records import RunFolder
from kurabe.runs.names import find_run, newest_first, source_of
from kurabe.runs.precision import settled_device
from kurabe.words.commands import aligned, say

if TYPE_CHECKING:
    from kurabe.data import ImageSet

# So many images are drawn before they are written, and an interrupted command keeps the rest.
AT_ONCE = 64


def fit(
    method: str,
    data: str,
    *,
    base: str | None,
    out: Path | None,
    seed: int,
    budget: str | None,
    settings: tuple[str, ...],
    size: int | str | None,
    channels: int | None,
    device: str,
    lang: str,
    encoder: str | None = None,
    prompt: str | None = None,
    processes: int = 1,
    aspects: str | None = None,
) -> RunFolder:
    """Train one method once, or go on with it, and measure it; its folder comes back."""
    from kurabe.studies.single import Single, fit_single

    wanted = Single(
        method, data, base=base, seed=seed, budget=budget, size=size, channels=channels,
        device=device, encoder=encoder, settings=parse_settings(settings), prompt=prompt,
        processes=processes, aspects=aspects,
    )  # fmt: skip
    folder = fit_single(wanted, out, lang)
    print(f"  {folder.path}")
    return folder


def parse_settings(texts: tuple[str, ...]) -> dict[str, Any]:
    """`a.b=1` → {"a": {"b": 1}}; values as in TOML, bare words as text."""
    from kurabe.studies.study import merged

    result: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (equals and key.strip() and value.strip()):
            raise UserError(f"--set {text}: write it like optimiser.lr=0.001.")
        try:
            nested = tomllib.loads(f"{key} = {value}")
        except (ValueError, RecursionError):
            try:
                nested = tomllib.loads(f"{key} = {value.strip()!r}")
            except (ValueError, RecursionError):
                raise UserError(f"--set {text}: write it like optimiser.lr=0.001.") from None
        result = merged(result, nested)
    return result


def runs(below: Path, lang: str) -> None:
    """A line for every run below a folder, the newest first."""
    found = newest_first(below)
    if not found:
        print(say("runs.none", lang, path=below))
        return
    lines: list[tuple[str, ...]] = []
    for one in found:
        run, info = one.run, one.info
        seen, wanted = info.get("images_seen") or 0, info.get("budget_images") or 0
        lines.append(
            (
                info.get("id") or "",
                info.get("method") or "",
                say(f"status.{run.status_of(info)}", lang),
                f"{seen:,}/{wanted:,}",
                str(run.path),
            )
        )
    print("\n".join(aligned(lines)))


@dataclass(frozen=True)
class Drawing:
    """Which images are drawn, and how; None leaves it to the run."""

    count: int
    seed: int
    evaluations: int | None = None
    class_name: str | None = None
    guidance: float | None = None


def sample(run: str, out: Path, how: Drawing, device: str, below: Path, lang: str) -> None:
    """Draw images with seeds seed, seed + 1, …, each a PNG named by its seed."""
    from PIL import Image

    from kurabe.training import load_model

    check_place(out, folder=True)
    model = load_model(source_of(run, below), settled_device(device))
    if how.guidance is not None:
        model = model.guided(how.guidance)
    out.mkdir(parents=True, exist_ok=True)
    for start in range(how.seed, how.seed + how.count, AT_ONCE):
        seeds = range(start, min(start + AT_ONCE, how.seed + how.count))
        drawn = model.sample(seeds, how.evaluations, class_name=how.class_name)
        for number, pixels in zip(seeds, drawn, strict=True):
            buffer = io.BytesIO()
            Image.fromarray(pixels.squeeze()).save(buffer, "PNG")
            write_bytes_atomic(out / f"seed-{number:06d}.png", buffer.getvalue())
    print(say("done.samples", lang, n=how.count, path=out))


def embed(
    run: str,
    source: str,
    out: Path,
    layer: str | None,
    log_snr: float | None,
    grid: int | None,
    draws: int,
    device: str,
    below: Path,
    lang: str,
) -> None:
    """Features of every image that can be read as Parquet: id, label where known, the vector.

    Copies have rows too; files that cannot be read are named.
    """
    from kurabe import data
    from kurabe.runs.embedding import Wanted, embed_images, write_parquet
    from kurabe.training import load_model

    check_place(out, folder=False)
    place = source_of(run, below)
    model = load_model(place, settled_device(device))
    images = data.load(source, size=model.image_size, channels=model.channels, copies=True)
    wanted = Wanted(layer, log_snr, grid, draws)
    embedding = embed_images(model, images, wanted, RunFolder(place))
    write_parquet(out, images, embedding)
    count, dim = embedding.vectors.shape
    print(say("done.embed", lang, n=count, dim=dim, path=out, where=embedding.described))
    told_left(images, lang)


def told_left(images: "ImageSet", lang: str) -> None:
    """Name the files that could not be read, and have no row."""
    from kurabe import data
    from kurabe.data.report import CLOSED

    left = [f"{file} {reason}" for file, reason in images.report.dropped] if images.report else []
    if images.report:
        left += [f"{name} {CLOSED}" for name, why, _ in images.report.left if why == "left.closed"]
    if left:
        print(say("done.embed.left", lang, n=len(left), which=data.some_of(left)))


def export(run: str, out: Path, to: str, below: Path, lang: str) -> None:
    """Write a run's model in a format of others."""
    from kurabe import registry

    write = registry.load("exports", to)
    write(find_run(run, below), out)
    print(say("done.export", lang, format=to, path=out))


def evaluate(run: str, source: str | None, device: str, below: Path, lang: str) -> None:
    """Measure a run again, or on other images; the scores go into its folder."""
    from kurabe.commands.facts import print_json
    from kurabe.runs.stages import measure_again

    scores = measure_again(find_run(run, below), source, settled_device(device))
    values = {key: entry.get("value") for key, entry in scores.get("metrics", {}).items()}
    print_json(values)
