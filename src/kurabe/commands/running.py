"""The commands on single runs: fit, runs, sample, embed, evaluate."""

import tomllib
from pathlib import Path
from typing import Any

from kurabe.errors import UserError
from kurabe.records import RunFolder
from kurabe.studies.finding import find_run, newest_first, source_of
from kurabe.words import aligned, say


def fit(
    method: str,
    data: str,
    *,
    base: str | None,
    out: Path | None,
    seed: int,
    budget: str | None,
    settings: tuple[str, ...],
    size: int | None,
    channels: int | None,
    device: str,
    lang: str,
) -> RunFolder:
    """Train one method once, or go on with it, and measure it; its folder comes back."""
    from kurabe.studies.single import Single, fit_single

    wanted = Single(
        method, data, base=base, seed=seed, budget=budget, size=size, channels=channels,
        device=device, settings=parse_settings(settings),
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
        except tomllib.TOMLDecodeError:
            try:
                nested = tomllib.loads(f"{key} = {value.strip()!r}")
            except tomllib.TOMLDecodeError:
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
    for run in found:
        info = run.info
        seen, wanted = info.get("images_seen") or 0, info.get("budget_images") or 0
        lines.append(
            (
                str(info.get("id", "")),
                str(info.get("method", "")),
                say(f"status.{run.status}", lang),
                f"{seen:,}/{wanted:,}",
                str(run.path),
            )
        )
    print("\n".join(aligned(lines)))


def sample(
    run: str,
    out: Path,
    count: int,
    evaluations: int | None,
    seed: int,
    device: str,
    below: Path,
    lang: str,
) -> None:
    """Draw `count` images with seeds seed, seed + 1, …, each a PNG named by its seed."""
    from PIL import Image

    from kurabe.training import load_model

    model = load_model(source_of(run, below), device)
    out.mkdir(parents=True, exist_ok=True)
    seeds = range(seed, seed + count)
    for number, pixels in zip(seeds, model.sample(seeds, evaluations), strict=True):
        Image.fromarray(pixels.squeeze()).save(out / f"seed-{number:06d}.png")
    print(say("done.samples", lang, n=count, path=out))


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
    """Features of every image as Parquet: id, label where known, and the vector."""
    from kurabe import data
    from kurabe.studies.embedding import Wanted, embed_images, write_parquet
    from kurabe.training import load_model

    place = source_of(run, below)
    model = load_model(place, device)
    images = data.load(source, size=model.image_size, channels=model.channels)
    wanted = Wanted(layer, log_snr, grid, draws)
    embedding = embed_images(model, images, wanted, RunFolder(place))
    write_parquet(out, images, embedding)
    count, dim = embedding.vectors.shape
    print(say("done.embed", lang, n=count, dim=dim, path=out, where=embedding.described))


def evaluate(run: str, source: str | None, device: str, below: Path, lang: str) -> None:
    """Measure a run again, or on other images; the scores go into its folder."""
    import json

    from kurabe.studies.run import measure_again

    scores = measure_again(find_run(run, below), source, device)
    values = {key: entry["value"] for key, entry in scores["metrics"].items()}
    print(json.dumps(values, ensure_ascii=False, indent=1))
