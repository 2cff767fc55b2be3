"""What a study costs beside its training: python bench/overhead/run.py [--against COMMIT].

The demo's study (`recipes/demo.toml`), its budget said in images, so that two versions train on the
same ones; references and scores begin with an empty cache, images are decoded before. Counted is
processor time of all processes, which other work on the machine does not lengthen much. What lies
beside training does not hang on the number of images (the demo looks at a run three times), so
runs may be shorter than the demo's: their training is then scaled to its images.

Held to (issue "open house"): beside training at most 35 % of it; against another commit, the same
scores to the last digit, those apart that tell what a run cost. Exit code 1 where either is missed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tomli_w

BAR = 0.35
# Of a run of the demo: 30 s of one thread at 96 images a second.
DEMO_IMAGES = 2880
HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
# Rows that tell what a run cost here and now.
COSTS = {"seconds", "images-per-second", "seconds-per-sample", "peak-memory"}
KINDS = ("start", "data", "references", "trials", "on the way", "drawing", "measuring", "writing")


def study(given: argparse.Namespace) -> str:
    """The demo's study.toml on a budget in images."""
    recipe = ROOT / "src" / "kurabe" / "recipes" / "demo.toml"
    settings = tomllib.loads(recipe.read_text(encoding="utf-8"))
    changes = {"budget": {"images": given.images}, "equal": "images", "blocks": given.blocks}
    if given.workers:
        changes["workers"] = given.workers
    return tomli_w.dumps(settings | changes)


def environment(source: Path, place: Path) -> dict[str, str]:
    """Of a process that runs that version of the package and tells its times to `place`."""
    for name in ("times", "cache"):
        (place / name).mkdir(parents=True, exist_ok=True)
    downloads = Path(os.environ.get("KURABE_CACHE", "~/.cache/kurabe")).expanduser() / "downloads"
    if downloads.is_dir() and not (place / "cache" / "downloads").exists():
        (place / "cache" / "downloads").symlink_to(downloads)
    paths = os.pathsep.join([str(HERE), str(source / "src")])
    return os.environ | {"PYTHONPATH": paths, "KURABE_CACHE": str(place / "cache")}


def carried_out(source: Path, place: Path, recipe: str) -> dict[str, float]:
    """Run the study by that version; seconds of processor time by kind, over all processes."""
    given = environment(source, place)
    (place / "study.toml").write_text(recipe, encoding="utf-8")
    decode = (
        "import sys; from kurabe.studies.study import Study; from kurabe.runs.images import "
        "load_images; load_images(Study.from_toml(sys.argv[1]).data)"
    )
    subprocess.run([sys.executable, "-c", decode, place / "study.toml"], env=given, check=True)
    command = [sys.executable, "-m", "kurabe", "study", place / "study.toml", "--yes"]
    subprocess.run(
        [*command, "--lang", "en", "--out", place / "study"],
        env=given | {"OVERHEAD": str(place / "times")},
        check=True,
    )
    spent: dict[str, float] = {}
    for file in (place / "times").glob("*.json"):
        for kind, seconds in json.loads(file.read_bytes()).items():
            spent[kind] = spent.get(kind, 0.0) + seconds
    return spent


def scores(place: Path) -> dict[str, Any]:
    """Every run's scores but for its cost, by column and block."""
    found: dict[str, Any] = {}
    for path in sorted((place / "study" / "runs").glob("*/*/scores/scores.json")):
        told = json.loads(path.read_bytes())
        rows = {row: of for row, of in told["metrics"].items() if row not in COSTS}
        found["/".join(path.parts[-4:-2])] = [told["checkpoint"], rows]
    return found


def tell(name: str, spent: dict[str, float], images: int) -> float:
    """Print one version's seconds; its share beside the demo's training comes back."""
    training = spent["training"] * DEMO_IMAGES / images
    beside = sum(seconds for kind, seconds in spent.items() if kind != "training")
    print(f"{name}: training {training:.0f} s, beside {beside:.0f} s = {beside / training:.0%}")
    print("  " + ", ".join(f"{kind} {spent.get(kind, 0.0):.0f}" for kind in KINDS))
    return beside / training


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """The repository as it was then, in a folder of its own for a while."""
    with tempfile.TemporaryDirectory() as place:
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", f"{place}/then", commit], check=True)
        try:
            yield Path(place) / "then"
        finally:
            subprocess.run([*git, "remove", "--force", f"{place}/then"], check=True)


def main() -> int:
    """Measure, print, and answer 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=DEMO_IMAGES, help="of a run")
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--workers", type=int, help="runs at once; usually one for each core")
    parser.add_argument("--against", help="a commit to compare with")
    given = parser.parse_args()
    recipe = study(given)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        spent = carried_out(ROOT, place / "now", recipe)
        share, same = 0.0, True
        if given.against:
            with checked_out(given.against) as then:
                before = carried_out(then, place / "then", recipe)
            one, other = scores(place / "now"), scores(place / "then")
            different = [run for run in one if one[run] != other.get(run)]
            same = one.keys() == other.keys() and not different
            tell(given.against, before, given.images)
            said = "the same" if same else f"OTHERS in {', '.join(different)}"
            print(f"scores of {len(one)} runs: {said}")
        share = tell("now", spent, given.images)
    print(f"beside training at most {BAR:.0%}: {'yes' if share <= BAR else 'NO'}")
    return 0 if same and share <= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
