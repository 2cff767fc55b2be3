"""Put a finished study's records into the package: python tools/ship_study.py STUDY NAME.

Writes src/kurabe/results/NAME/ with everything that tables and pages are drawn from: settings,
recipes, curves, scores, ledgers, and of each run its last grids. No weights, no logs.
"""

import shutil
import sys
from pathlib import Path

from kurabe.records.study import SHIPPED, StudyFolder

KEPT = ("recipe.toml", "run.json", "metrics.jsonl", "test-openings.jsonl", "scores/*.json",
        "samples/samples-*.png", "samples/nearest-*.png")  # fmt: skip


def main(study: Path, name: str) -> None:
    """Copy the records; a study with a run that has not ended is refused."""
    folder, target = StudyFolder(study), SHIPPED / name
    runs = list(folder.runs().values())
    if open_runs := [run.path for run in runs if run.status not in ("finished", "failed")]:
        sys.exit(f"{open_runs[0]} has not ended; run the study to its end first.")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for path in (folder.study_path, folder.state_path):
        shutil.copy(path, target)
    for run in runs:
        for pattern in KEPT:
            for file in run.path.glob(pattern):
                to = target / file.relative_to(study)
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, to)
    size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    print(f"{target}: {len(runs)} runs, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
