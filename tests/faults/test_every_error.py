"""Every command × every error that a file operation can give: one sentence, and nothing is lost.

Each command runs once undisturbed, and its file operations are counted. Then again on a fresh copy
of the same folder, with one of them failing once, or for as long as such a fault would last. Most
refusals end the command with one sentence and code 1 or 2; some (a cache that cannot be kept) it
can do without. Afterwards every file is as it was or wholly new, and the command works again.
"""

import errno
import json
import os
import random
import shutil
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import every_command
import numpy as np
import pytest
import typer
from every_command import COMMANDS, below, do
from injected import BESIDE, SYSTEM, Operation, Watch, watched
from PIL import Image
from safetensors import safe_open

from kurabe.cli import app

NUMBERS = [
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO,
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EMFILE, errno.ENFILE,
    errno.ENAMETOOLONG, errno.EBUSY, errno.ETIMEDOUT, errno.ESTALE, errno.ELOOP, errno.EXDEV,
    errno.EINVAL, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENODEV, errno.ENOTCONN,
]  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("world")
    every_command.make(place)
    return place


@pytest.fixture
def trial(world, tmp_path, monkeypatch, capsys) -> Iterator["Trial"]:
    # So that its end leads back to where other tests stand.
    monkeypatch.chdir("/")
    with every_command.small(monkeypatch):
        yield Trial(world, tmp_path / "world", capsys)
        os.chdir("/")


@dataclass
class Outcome:
    code: int
    said: str
    error: str


@dataclass
class Trial:
    """The place where a command is tried, on a fresh copy of the world each time."""

    world: Path
    place: Path
    capsys: pytest.CaptureFixture[str]

    def fresh(self, command: list[str]) -> dict[str, bytes]:
        os.chdir("/")
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self.world, self.place)
        os.chdir(self.place)
        every_command.anew(command)
        return files_of(Path())

    def again(self, command: list[str], below: tuple[Path, ...]) -> str:
        """What the command says undisturbed on another fresh copy."""
        self.fresh(command)
        return self.run(command, Watch(below)).said

    def run(self, command: list[str], watch: Watch) -> Outcome:
        self.capsys.readouterr()
        with watched(watch):
            code = do(command)
        out, error = self.capsys.readouterr()
        return Outcome(code, out, error)


def files_of(place: Path) -> dict[str, bytes]:
    """What lies below, without locks, the cache and the index, which may be made again."""
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in sorted(place.rglob("*"))
        if path.is_file() and path.suffix not in (".lock", ".sqlite") and "cache" not in path.parts
        and not path.name.endswith(".lock")
    }  # fmt: skip


def whole(path: Path) -> bool:
    """Whether a file that was written anew can be read to its end."""
    try:
        return _read(path)
    except (ValueError, OSError, SyntaxError):
        return False


def _read(path: Path) -> bool:
    if path.suffix == ".json":
        return isinstance(json.loads(path.read_bytes()), dict)
    if path.suffix == ".jsonl":
        # A line that a full disk cut short is left out by whoever reads on.
        *lines, _ = path.read_bytes().split(b"\n")
        return all(isinstance(json.loads(line), dict) for line in lines)
    if path.suffix == ".toml":
        return bool(tomllib.loads(path.read_text("utf-8")))
    if path.suffix == ".png":
        with Image.open(path) as image:
            image.load()
        return True
    if path.suffix == ".npz":
        return bool(np.load(path).files)
    if path.suffix == ".html":
        return path.read_text("utf-8").rstrip().endswith("</html>")
    if path.suffix == ".safetensors":
        with safe_open(path, "np") as file:
            return bool(list(file.keys()))
    return path.suffix == ".log" or path.stat().st_size > 0


def problems(
    outcome: Outcome, plain: Outcome, failed: Sequence[Operation], before: dict[str, bytes]
) -> list[str]:
    """What is wrong with how a command took a refusal; nothing, at best.

    plain: what it says undisturbed, "" where that is never the same twice.
    """
    found: list[str] = []
    if outcome.code == 0 and plain.said and outcome.said != plain.said and not gone(failed):
        other = set(outcome.said.splitlines()) - set(plain.said.splitlines())
        named = any(Path(one.path).name in line for one in failed for line in other)
        if not named and outcome.error == plain.error:
            found.append(f"says something else, and nothing of the refusal: {sorted(other)[:5]}")
    if outcome.code not in (0, 1, 2):
        found.append(f"code {outcome.code}")
    if outcome.code:
        found += said_badly(outcome.error, failed)
    now = files_of(Path())
    for name, content in before.items():
        if name not in now:
            found.append(f"{name} is gone")
        elif now[name] != content and not whole(Path(name)):
            found.append(f"{name} is torn")
    found += [f"{n} is left over" for n in now if n not in before and ".kurabe-" in n]
    found += [f"{n} is new and torn" for n in now if n not in before and not whole(Path(n))]
    return found


# So the system says that there is no such file, which may be the truth.
NOT_THERE = {os.strerror(number) for number in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)}


def gone(failed: Sequence[Operation]) -> bool:
    return failed[0].event not in SYSTEM and failed[0].why in NOT_THERE


def said_badly(error: str, failed: Sequence[Operation]) -> list[str]:
    found: list[str] = []
    # What is said on the way stands in.
    lines = [line for line in error.splitlines() if not line.startswith("  ")]
    if len(lines) != 1 or not lines[0].endswith("."):
        found.append(f"not one sentence: {error!r}")
    listed = failed[0].event in ("os.scandir", "os.listdir")
    if not (gone(failed) and listed) and not any(_named(Path(one.path), error) for one in failed):
        found.append(f"does not name {failed[0].path}: {error!r}")
    if "Error" in error or "Traceback" in error or "failed in" in error:
        found.append(f"speaks Python: {error!r}")
    if not any(word in error for word in WAYS_OUT):
        found.append(f"names no way out: {error!r}")
    return found


def _named(path: Path, error: str) -> bool:
    """Whether that file, or the folder that it lies in, is named.

    What is written beside a file on the way to it stands for that: of a hidden folder the file is
    a name within, of a hidden file in the working folder it cannot be told.
    """
    if path.name.startswith(BESIDE) and path.parent == Path.cwd():
        return True
    hidden = any(part.startswith(".") for part in path.parts)
    return any(name in error for name in path.parts[-2 if not hidden else -4 :])


# Every sentence tells what to do next in one of these words.
WAYS_OUT = (
    "give", "make", "put back", "put it back", "remove", "close", "change", "same command",
    "wait", "name a", "kurabe ", "add", "--", "free", "needs", "does not exist",
)  # fmt: skip
# What is there already is not written again.
ONCE = ("sample", "export")


def falsify(trial: Trial, name: str, only: bool | None) -> None:
    """Tries every place where the command touches a file: a line of Kurabe's and a kind of file. In
    each an error that comes once, and one that lasts.

    only: one place alone, drawn with a fixed seed, and whether its error lasts.
    """
    command, wrong = COMMANDS[name], list[str]()
    trial.fresh(command)
    plain = Watch(below(name, trial.place))
    told = trial.run(command, plain)
    assert told.code == 0, told.error
    drawn = random.Random(name)
    numbers = cycle(drawn.sample(NUMBERS, len(NUMBERS)))
    at = list({one.place: at for at, one in enumerate(plain.seen)}.values())
    assert at or name == "list"
    if only is not None:
        at = drawn.sample(at, min(1, len(at)))
    if only is not None or told.said != trial.again(command, below(name, trial.place)):
        # Not looked at, or full of seconds and speeds.
        told.said = ""
    for turn, k in enumerate(at):
        # Training takes its time, and shares most of its places with other commands that train.
        both = (False, True) if "anew" not in name else (turn % 2 == 0,)
        for lasting in both if only is None else (only,):
            number = next(numbers)
            before = trial.fresh(command)
            broken = Watch(below(name, trial.place), k, number, lasting)
            outcome = trial.run(command, broken)
            if not broken.failed:
                continue
            found = problems(outcome, told, broken.failed, before)
            again = trial.run(command, Watch(below(name, trial.place)))
            if again.code != 0 and not (outcome.code == 0 and command[0] in ONCE):
                found.append(f"does not go on: {again.error!r}")
            first = broken.failed[0]
            error = first.event if first.event in SYSTEM else errno.errorcode[number]
            how = f"{name}, {k}{' lasting' * lasting}, {error}: {first}"
            wrong += [f"{how}: {what}" for what in found]
    assert not wrong, f"{len(wrong)} in {len(at)} places:\n" + "\n".join(wrong[:60])


def test_every_command_is_tried():
    group = typer.main.get_command(app)
    names = {(name,) for name in group.commands} - {("data",)}
    names |= {("data", name) for name in group.commands["data"].commands}
    tried = {tuple(words[: 2 if words[0] == "data" else 1]) for words in COMMANDS.values()}
    assert names <= tried


@pytest.mark.parametrize("name", COMMANDS)
def test_a_refusal_in_any_command_is_one_sentence_and_loses_nothing(name, trial):
    falsify(trial, name, only=list(COMMANDS).index(name) % 2 == 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_every_refusal_in_every_command(name, trial):
    falsify(trial, name, only=None)
