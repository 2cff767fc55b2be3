"""What a run tells while it trains: lines of metrics.jsonl, for its listener and its trackers."""

import math
from typing import Any

from torch import Tensor

from kurabe.errors import RunFailed
from kurabe.training.run import Run


def tell(run: Run, line: dict[str, Any]) -> None:
    """Add a line; `images_seen` says where it stands."""
    if run.is_writer:
        run.folder.append_metric(line)
        run.listener(line)
    numbers = {k: v for k, v in line.items() if isinstance(v, float)}
    run.accelerator.log(numbers, step=line["images_seen"])


class Window:
    """Term means since the last line, summed on the device so that no update waits for them."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.norms: Tensor | float = 0.0
        self.count = 0

    def add(self, losses: dict[str, Tensor], norm: Tensor) -> None:
        """One update's terms and the norm of its gradient, which may overflow alone."""
        self.count += 1
        self.norms = self.norms + norm
        for name, loss in losses.items():
            self.sums[name] = self.sums.get(name, 0) + loss

    def check(self, run: Run) -> dict[str, float]:
        """Each term's mean over the window and all processes; RunFailed where not finite."""
        parts = self.count * run.accelerator.num_processes
        sums = {name: float(run.total(own)) for name, own in self.sums.items()}
        means: dict[str, float] = {name: value / parts for name, value in sums.items()}
        told = {f"{name} loss": mean for name, mean in means.items()}
        for name, value in {**told, "gradient's norm": float(self.norms)}.items():
            if not math.isfinite(value):
                progress = run.training.progress
                raise RunFailed(
                    f"The {name} became {value} within the {self.count} updates before image "
                    f"{progress.images_seen:,}; the last good state is kept. A lower learning "
                    f"rate than {run.recipe.optimiser.lr:g} may help."
                )
        return means

    def tell(self, run: Run) -> None:
        """Write a line and begin anew."""
        means = self.check(run)
        weights = run.objective.weights(run.share)
        progress = run.training.progress
        line = {
            "images_seen": progress.images_seen,
            "loss": sum(weights[name] * mean for name, mean in means.items()),
            "terms": means,
            "lr": run.training.optimiser.param_groups[0]["lr"],
            "seconds": round(progress.seconds, 3),
        }
        tell(run, line)
        self.sums, self.norms, self.count = {}, 0.0, 0
