"""What a study found out by itself and never asks again: speeds, learning rates, what was added.

It lies beside study.toml as study.json, so that the file a person edits holds only what a person
decides.
"""

from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kurabe.errors import UserError
from kurabe.files import write_text_atomic


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LearningRate(_Part):
    """What a column's trials found: validation loss by learning rate, the best, and its cost.

    on_edge is true where the best lies at either end of the grid, so a better one may lie
    outside.
    """

    lr: float
    losses: dict[str, float | None]
    on_edge: bool
    seconds: float
    images: int


class StudyState(_Part):
    """rates: images/s of training, by column, from the calibration; written once.

    settled: by block, the images/s that its budgets in seconds were turned into images with;
    written just before the block's first run, and never again.
    kept_bytes: what a run of each column keeps of its weights, where it was measured.
    speeds_of: what they were measured with, see Study.speed_key; they hold for nothing else.
    """

    version: int = Field(default=1, alias="schema")
    rates: dict[str, float] = Field(default_factory=dict)
    settled: dict[int, dict[str, float]] = Field(default_factory=dict)
    kept_bytes: dict[str, int] = Field(default_factory=dict)
    speeds_of: str | None = None
    calibrated: str | None = None
    learning_rates: dict[str, LearningRate] = Field(default_factory=dict)
    added_columns: list[str] = Field(default_factory=list)

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    @classmethod
    def read(cls, path: Path) -> "StudyState":
        """The state beside a study; a fresh one where there is none yet."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return cls()
        except ValidationError:
            raise UserError(
                f"{path} is not a state that this version wrote; move it away to calibrate anew."
            ) from None

    def write(self, path: Path) -> None:
        """Replace study.json whole."""
        write_text_atomic(path, self.model_dump_json(indent=1, by_alias=True) + "\n")

    def add_rates(self, rates: dict[str, float], speeds_of: str) -> None:
        """Keep the speeds of columns that have none yet; those that have one keep it."""
        self.rates = {**rates, **self.rates}
        self.speeds_of = self.speeds_of or speeds_of
        self.calibrated = self.calibrated or datetime.now(UTC).isoformat(timespec="seconds")
