"""/{lang}/runs/{id}: one run's record: state, recipe, curves, samples, scores, hardware."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from kurabe.comparison.drawings.page import Picture
from kurabe.comparison.metrics import METRICS
from kurabe.comparison.numbers import decimals_for, number
from kurabe.errors import UserError
from kurabe.methods import catalogue
from kurabe.records import Info, RunFolder, read_grid
from kurabe.web.address import at, language_of
from kurabe.web.curves import losses, plot
from kurabe.web.problems import Problem
from kurabe.web.site import Site
from kurabe.words.pages import word
from kurabe.words.table import has_word

# The least width that a tile is shown at, and so many grids on a page.
_TILE = 48
_GRIDS = 6


@dataclass(frozen=True)
class Score:
    """One metric of a run as shown."""

    label: str
    value: str
    references: tuple[tuple[str, str], ...]


def pages(site: Site) -> list[BaseRoute]:
    """The runs' pages."""

    def show(request: Request) -> Response:
        lang, key = language_of(request), request.path_params["key"]
        study = request.query_params.get("study")
        folder = site.library.run(key, study)
        try:
            info, status, scores = folder.info, folder.status, folder.scores()
        except UserError as error:
            raise Problem(
                422, "problem.unreadable", reason=site.library.published(error)
            ) from error
        method = catalogue().get(str(info.get("method")))
        curves = {word(f"curve.{name}", lang): points for name, points in losses(folder).items()}
        return site.draw(
            request,
            "run.html",
            title=word("run", lang, name=str(info.get("id", key))),
            study=site.library.study_of(folder),
            method=method,
            facts=_facts(info, status, lang),
            recipe=_recipe(folder),
            curves=plot(curves),
            grids=_grids(folder, key, study),
            scores=_scores(scores.get("scores", {}).get("metrics", {}), lang),
            encoder=scores.get("scores", {}).get("encoder"),
        )

    return [Route("/{lang:lang}/runs/{key:path}", show)]


def _facts(info: Info, status: str, lang: str) -> list[tuple[str, str]]:
    hardware, libraries = info.get("hardware") or {}, info.get("libraries") or {}
    seen, budget = info.get("images_seen"), info.get("budget_images")
    found = [
        ("run.status", word(f"status.{status}", lang)),
        ("run.error", info.get("error")),
        ("run.block", info.get("block")),
        ("run.seed", info.get("seed")),
        ("run.images", f"{seen:,} / {budget:,}" if seen and budget else seen),
        ("run.seconds", f"{seconds:,.0f}" if (seconds := info.get("seconds")) else None),
        ("run.prepared", _prepared(info, lang)),
        ("run.started", info.get("started")),
        ("run.finished", info.get("finished")),
        ("run.data", info.get("data_digest")),
        ("run.version", " ".join(str(v) for v in (info.get("version"), info.get("commit")) if v)),
        ("run.hardware", ", ".join(f"{k}: {v}" for k, v in hardware.items())),
        ("run.libraries", ", ".join(f"{k} {v}" for k, v in libraries.items())),
    ]
    return [(word(key, lang), str(value)) for key, value in found if value not in (None, "")]


def _prepared(info: Info, lang: str) -> str | None:
    passes, images = info.get("prepared_passes"), info.get("prepared_images")
    if not passes or not images:
        return None
    seconds = info.get("prepared_seconds") or 0
    return word("run.paid", lang, passes=passes, images=images, seconds=seconds)


def _recipe(folder: RunFolder) -> str | None:
    try:
        return folder.recipe_toml
    except UserError:
        return None


def _grids(folder: RunFolder, key: str, study: str | None) -> list[tuple[int, Picture]]:
    """The grids from early to late, so many of them, evenly, and always the newest."""
    paths = [*folder.sample_grids("progress"), *folder.sample_grids()]
    step = max(1, -(-len(paths) // _GRIDS))
    chosen = [*paths[:-1:step], *paths[-1:]]
    return [shown for path in chosen if (shown := _grid(path, key, study))]


def _grid(path: Path, key: str, study: str | None) -> tuple[int, Picture] | None:
    try:
        grid = read_grid(path)
    except UserError:
        return None
    count, height, width, _ = grid.tiles[:32].shape
    factor = max(1, -(-_TILE // width))
    across, down = min(8, count), -(-count // 8)
    query = [("file", f"samples/{path.name}"), ("study", study)]
    size = ((across * (width + 1) - 1) * factor, (down * (height + 1) - 1) * factor)
    return grid.images_seen, Picture(at(f"/run-samples/{quote(key)}", query), *size)


def _scores(metrics: dict[str, Any], lang: str) -> list[Score]:
    found: list[Score] = []
    for metric in METRICS.values():
        score: dict[str, Any] | None = metrics.get(metric.id)
        if score is None or not isinstance(score.get("value"), int | float):
            continue
        value = float(score["value"]) / metric.unit
        decimals = metric.decimals if metric.decimals is not None else decimals_for([value])
        known: dict[str, Any] = score.get("references") or {}
        references = tuple(
            (_reference(name, lang), number(float(v) / metric.unit, decimals))
            for name, v in known.items()
            if isinstance(v, int | float)
        )
        found.append(Score(metric.label(lang), number(value, decimals), references))
    return found


def _reference(name: str, lang: str) -> str:
    return word(f"reference.{name}", lang) if has_word(f"reference.{name}") else name
