"""A run's folder: recipe.toml, run.json, metrics.jsonl, samples/, scores/*.json, checkpoints/.

The folder is the truth about a run. Each file is replaced whole, or grows line by line, so a
process killed at any instant leaves a folder that can be read.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from kurabe.errors import UserError, refusal
from kurabe.files import write_json_atomic, write_text_atomic
from kurabe.records import lines, lock
from kurabe.records.checked import check_info, check_scores, json_object
from kurabe.records.samples import Pixels, SampleGrid, grids, write_grid
from kurabe.records.types import Info, Scores

SCHEMA = 1
STATUSES = ("planned", "running", "finished", "failed", "interrupted")


class RunFolder:
    """One run's folder. What run.json and the scores hold is in `kurabe.records.types`."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.recipe_path = self.path / "recipe.toml"
        self.info_path = self.path / "run.json"
        self.metrics_path = self.path / "metrics.jsonl"
        self.samples = self.path / "samples"
        self.checkpoints = self.path / "checkpoints"
        self.scores_path = self.path / "scores"

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    @property
    def exists(self) -> bool:
        """Whether a run was created here."""
        return self.info_path.is_file()

    def create(self, recipe_toml: str, info: Mapping[str, Any]) -> "RunFolder":
        """Begin a run here: the recipe first, then run.json, which makes the folder a run.

        Raises UserError where the folder holds a run already.
        """
        if self.exists:
            raise UserError(f"{self.path} holds a run already; give another folder.")
        for folder in (self.samples, self.checkpoints, self.scores_path):
            folder.mkdir(parents=True, exist_ok=True)
        write_text_atomic(self.recipe_path, recipe_toml)
        first = {"schema": SCHEMA, "status": "planned", "images_seen": 0, **info}
        self._write_info(cast(Info, first))
        return self

    @property
    def recipe_toml(self) -> str:
        """The recipe's text."""
        try:
            return self.recipe_path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise UserError(f"{self.path} is not a run's folder: recipe.toml is missing.") from None
        except UnicodeDecodeError:
            raise UserError(f"{self.recipe_path} is not UTF-8 text; it was damaged.") from None
        except OSError as error:
            raise UserError(str(refusal(error))) from None

    @property
    def info(self) -> Info:
        """The content of run.json, read anew each time; UserError where it is damaged."""
        try:
            info = json_object(self.info_path)
        except FileNotFoundError:
            raise UserError(
                f"{self.path} is not a run's folder: run.json is missing; put it back, "
                "or give another folder."
            ) from None
        if info.get("schema") != SCHEMA:
            raise UserError(
                f"{self.info_path} has schema {info.get('schema')!r}, this version reads "
                f"{SCHEMA}; use the version of Kurabe that wrote it."
            )
        check_info(self.info_path, info, STATUSES)
        return cast(Info, info)

    def update(self, **fields: Any) -> Info:
        """Replace these fields of run.json; the new content comes back."""
        info = cast(Info, {**self.info, **fields})
        self._write_info(info)
        return info

    @property
    def status(self) -> str:
        """One of STATUSES; a run whose process died while it was running is interrupted."""
        return self.status_of(self.info)

    def status_of(self, info: Info) -> str:
        """The status of the run whose run.json holds this."""
        status = str(info.get("status"))
        if status == "running" and not self.is_being_written:
            return "interrupted"
        return status

    @contextmanager
    def writing(self) -> Generator["RunFolder"]:
        """Be the folder's one writer; UserError where another process is."""
        self.path.mkdir(parents=True, exist_ok=True)
        with lock.writing(self.path / ".lock"):
            yield self

    @property
    def is_being_written(self) -> bool:
        """Whether a living process is the folder's writer."""
        return lock.is_held(self.path / ".lock")

    @property
    def images_paid(self) -> int:
        """Images of training that the run's seconds paid for: those it has seen, and what was
        done before the first of them at its price in images."""
        info = self.info
        return (info.get("images_seen") or 0) + (info.get("prepared_images") or 0)

    def append_metric(self, metric: Mapping[str, Any]) -> None:
        """Add one line to metrics.jsonl; `images_seen` says where it stands."""
        lines.append(self.metrics_path, metric)

    def metrics(self) -> list[lines.Record]:
        """All whole lines of metrics.jsonl, oldest first."""
        return lines.read(self.metrics_path)

    def truncate_metrics(self, images_seen: int) -> None:
        """Forget what was recorded past a point: a resumed run tells that stretch again."""
        kept = [line for line in self.metrics() if line.get("images_seen", 0) <= images_seen]
        lines.replace(self.metrics_path, kept)

    def write_scores(self, name: str, scores: Scores) -> Path:
        """Write scores/<name>.json; `scores` holds schema, checkpoint, encoder, metrics."""
        path = self.scores_path / f"{name}.json"
        if path.parent != self.scores_path or not name:
            raise ValueError(f"{name!r} is not a plain file name")
        write_json_atomic(path, scores)
        return path

    def score(self, name: str) -> Scores:
        """The content of scores/<name>.json, {} where it was not written; UserError if damaged."""
        path = self.scores_path / f"{name}.json"
        try:
            return check_scores(path, json_object(path))
        except FileNotFoundError:
            return {}

    def scores(self) -> dict[str, Scores]:
        """All scores of the run by name; a run without scores has none."""
        files = sorted(self.scores_path.glob("[!.]*.json"))
        return {path.stem: check_scores(path, json_object(path)) for path in files}

    def write_samples(
        self, pixels: Pixels, seeds: Sequence[int], images_seen: int, kind: str = "samples"
    ) -> Path:
        """Write a grid of uint8 (N, H, W, C) tiles, tile k drawn from starting noise seeds[k].

        kind "samples" is what the model drew; "nearest" the training image nearest to each.
        """
        return write_grid(self.samples, SampleGrid(pixels, tuple(seeds), kind, images_seen))

    def sample_grids(self, kind: str = "samples") -> list[Path]:
        """The grids of a kind, by images seen; the last one is the newest."""
        return grids(self.samples, kind)

    def _write_info(self, info: Info) -> None:
        if (status := info.get("status")) not in STATUSES:
            raise ValueError(f"status {status!r} is not one of {', '.join(STATUSES)}")
        write_json_atomic(self.info_path, info)


def now() -> str:
    """This moment in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
