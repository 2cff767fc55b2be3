"""How fast the command answers: python bench/start.py.

Held to (issue "main job"): `kurabe --help` in under 0.4 s. Beside it an empty interpreter, and
the commands that need no torch. Each is a process of its own; the best of seven counts, since
other work on the machine can only add to it.
"""

import statistics
import subprocess
import sys
import time

ROUNDS = 7
COMMANDS = {
    "an empty python": ["-c", "pass"],
    "import kurabe": ["-c", "import kurabe"],
    "kurabe --help": ["-m", "kurabe", "--help"],
    "kurabe methods": ["-m", "kurabe", "methods"],
    "kurabe compare": ["-m", "kurabe", "compare"],
}


def seconds(arguments: list[str]) -> float:
    """Wall time of one process from start to end."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    """Take turns, so that drift of the machine hits all alike."""
    took: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, arguments in COMMANDS.items():
            took[name].append(seconds(arguments))
    for name, values in took.items():
        print(f"{name:<18} {min(values):.3f} s (median {statistics.median(values):.3f})")
    answer = min(took["kurabe --help"])
    print(f"kurabe --help under 0.4 s: {'yes' if answer < 0.4 else 'NO'}")


if __name__ == "__main__":
    main()
