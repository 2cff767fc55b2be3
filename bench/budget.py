"""How equal equal seconds are: python bench/budget.py [SECONDS [BLOCKS [WORKERS]]]

A study of five columns, two of them the same network, on Fashion-MNIST, with so many seconds a run
(30) and blocks (3), through the command that everyone uses: calibration, trials, blocks. For each
column the realised seconds of training by block and their mean, then the spread: how far the
longest mean is above the shortest. On an idle machine it is to be at most BOUND, and the command
ends with code 1 where it is more; anything else that runs meanwhile is seen here too.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from kurabe.records import StudyFolder
from kurabe.studies.study import Study

BOUND = 0.03
COLUMNS = ("ddpm", "ddae", "masked-diffusion", "maskfeat-diffusion", "contrastive-diffusion")


def study(seconds: float, blocks: int, workers: int | None) -> Study:
    """Short runs that are measured little: only their seconds matter."""
    return Study.checked(
        {
            "name": "budget",
            "baseline": "ddpm",
            "blocks": blocks,
            "budget": {"seconds": seconds},
            "data": {"source": "fashion-mnist", "size": 28, "channels": 1, "limit": 1000},
            "network": {"width": 96, "depth": 4},
            "optimiser": {"held_out_share": 0.5},
            "evaluation": {
                "encoder": "pixels",
                "samples": 16,
                "evaluations": 4,
                "real_images": 64,
                "loss_images": 32,
                "log_snrs": [2.5],
                "grids": [1],
                "search_images": 100,
                "probe_images": 100,
                "test_images": 100,
                "gallery_images": 50,
            },
            "trials": {"count": 3, "more": 0},
            "workers": workers,
            "columns": [{"id": method, "method": method} for method in COLUMNS],
        },
        "bench/budget.py",
    )


def main(seconds: float, blocks: int, workers: int | None) -> int:
    """Run the study in a folder that is thrown away, and print what its runs took.

    Returns:
        0 where the columns lie within BOUND of one another, else 1: the exit code.
    """
    with tempfile.TemporaryDirectory() as place:
        file, out = Path(place) / "budget.toml", Path(place) / "study"
        study(seconds, blocks, workers).save(file)
        command = [sys.executable, "-m", "kurabe", "study", str(file), "--yes", "--out", str(out)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        infos = {key: run.info for key, run in StudyFolder(out).runs().items()}
    means: dict[str, float] = {}
    for column in COLUMNS:
        took = [infos[column, block]["seconds"] for block in range(1, blocks + 1)]
        images = [infos[column, block]["images_seen"] for block in range(1, blocks + 1)]
        means[column] = sum(took) / blocks
        by_block = "  ".join(f"{s:6.1f} s" for s in took)
        off = 100 * (means[column] / seconds - 1)
        print(f"{column:<22} {by_block}   mean {means[column]:.1f} s ({off:+.1f} %)   {images}")
    spread = max(means.values()) / min(means.values()) - 1
    held = spread <= BOUND
    print(
        f"of {seconds:g} s asked, the longest column lies {100 * spread:.1f} % above the shortest"
        f" (bound {100 * BOUND:g} %): {'held' if held else 'not held'}"
    )
    return 0 if held else 1


if __name__ == "__main__":
    given = sys.argv[1:]
    sys.exit(
        main(
            float(given[0]) if given else 30.0,
            int(given[1]) if len(given) > 1 else 3,
            int(given[2]) if len(given) > 2 else None,
        )
    )
