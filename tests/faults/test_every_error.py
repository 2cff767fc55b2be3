"""Every command × every error that a file operation can give: one sentence, and nothing is lost.

Each command runs once undisturbed, and its file operations below the working folder are counted.
Then again on a fresh copy of the same folder, with one of them failing. Most refusals end the
command with one sentence and code 1 or 2; some (a cache that cannot be kept) it can do without.
Afterwards every file is as it was or wholly new, and the command works again.
"""

import errno
import html
import json
import os
import random
import re
import shutil
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from injected import Watch, watched
from PIL import Image
from safetensors import safe_open
from starlette.testclient import TestClient

from kurabe.cli import answer
from kurabe.errors import sentence
from kurabe.records import RunFolder, StudyFolder
from kurabe.runs.worker import execute
from kurabe.studies.jobs import block_jobs
from kurabe.studies.single import Single, single_study
from kurabe.studies.state import StudyState
from kurabe.studies.study import Study
from kurabe.web import Library, create_app

NUMBERS = [
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO,
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EMFILE, errno.ENFILE,
    errno.ENAMETOOLONG, errno.EBUSY, errno.ETIMEDOUT, errno.ESTALE, errno.ELOOP, errno.EXDEV,
    errno.EINVAL, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENODEV, errno.ENOTCONN,
]  # fmt: skip
SETTINGS = {
    "name": "few",
    "baseline": "ddpm",
    "equal": "images",
    "blocks": 3,
    "threads": 1,
    "budget": {"images": 64},
    "trials": {"count": 0},
    "data": {"source": "pictures", "size": 8, "channels": 1},
    "network": {"patch": 2, "width": 16, "depth": 2, "heads": 2, "decoder": 1},
    "optimiser": {"batch": 64, "held_out_share": 1.0},
    "evaluation": {
        "encoder": "pixels",
        "samples": 8,
        "evaluations": 1,
        "loss_images": 4,
        "log_snrs": [4],
        "grids": [1],
        "place": [0.5, 4, 1],
        "search_images": 20,
        "views": 1,
    },
    "columns": [{"id": name, "method": name} for name in ("ddpm", "masked-diffusion")],
}
SIZE = ["--size", "8", "--device", "cpu", "--budget", "64img", "--set", "network.width=48"]
PAGES = ("/en/", "/en/studies", "/ja/studies/few", "/api/studies", "/api/runs", "/en/studies/few",
         "/api/studies/few", "/api/studies/few/progress", "/en/compare?study=few")  # fmt: skip
RUN = "few/runs/ddpm/block-1"
COMMANDS = {
    "check": ["data", "check", "pictures"],
    "check labels": ["data", "check", "pictures", "--labels", "labels.csv"],
    "compare": ["compare", "--study", "few"],
    "compare html": ["compare", "--study", "few", "--format", "html"],
    "runs": ["runs", "--runs", "few"],
    "plan": ["study", "few/study.toml", "--out", "few", "--dry-run"],
    "study": ["study", "few/study.toml", "--out", "few", "--yes"],
    "sample": ["sample", RUN, "-n", "2", "--steps", "1", "--out", "drawn"],
    "embed": ["embed", RUN, "--data", "pictures", "--out", "features.parquet"],
    "evaluate": ["evaluate", RUN],
    "train": ["train", RUN],
    "fit": ["fit", "ddpm", "--data", "pictures", "--out", "fitted", *SIZE],
    "pages": ["pages", "few"],
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder: pictures in class folders, labels, a finished study, a warm cache."""
    place = tmp_path_factory.mktemp("world")
    rng = np.random.default_rng(0)
    rows = ["file,label"]
    for k in range(24):
        kind = ("bright", "dark")[k % 2]
        (place / "pictures" / kind).mkdir(parents=True, exist_ok=True)
        low = 120 if kind == "bright" else 0
        pixels = rng.integers(low, low + 120, (8, 8), np.uint8)
        Image.fromarray(pixels).save(place / "pictures" / kind / f"{k}.png")
        rows.append(f"{k}.png,{kind}")
    (place / "labels.csv").write_text("\n".join(rows) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("KURABE_CACHE", "cache")
        study, folder = Study.checked(SETTINGS, "few"), StudyFolder("few")
        folder.path.mkdir()
        study.save(folder.study_path)
        StudyState().write(folder.state_path)
        for job in block_jobs(study, StudyState(), folder):
            execute(job.folder)
        _fitted()
        # Once all the way: the table, the page and the caches are there.
        assert answer(["study", "few/study.toml", "--out", "few", "--yes"]) == 0
    return place


def _fitted() -> None:
    """The run that `kurabe fit` finds finished, trained in this process."""
    single = Single(
        "ddpm", "pictures", size=8, device="cpu", budget="64img",
        settings={"network": {"width": 48}},
    )  # fmt: skip
    study, folder = single_study(single), RunFolder("fitted")
    recipe = study.recipe(study.columns[0], 1, StudyState(rates={"ddpm": 1.0}))
    info = {"method": "ddpm", "seed": 0, "trial": 1.0, "budget_asked": {"images": 64}}
    folder.create(recipe.to_toml(), {"id": f"{recipe.digest}-0", "column": "ddpm", **info})
    # As of a trial, whose measuring is left out.
    execute(folder)


@dataclass
class Outcome:
    code: int
    said: str
    error: str


def train(run: str) -> int:
    """What a worker does with a run's folder, in this process."""
    try:
        execute(RunFolder(run))
    except Exception as error:
        print(sentence(error), file=sys.stderr)
        return 1
    return 0


def pages(below: str) -> int:
    """What `kurabe serve` answers: a server error is code 1, its sentence on stderr."""
    library = Library(Path(below).parent)
    client = TestClient(create_app(library), raise_server_exceptions=False)
    for address in PAGES:
        answered = client.get(address)
        if answered.status_code >= 500:
            found = re.search(r'<p class="problem">(.*?)</p>', answered.text, re.DOTALL)
            text = found[1] if found else answered.json()["error"]
            print(html.unescape(text), file=sys.stderr)
            return 1
    return 0


DOERS = {"train": train, "pages": pages}


def tried(command: list[str], watch: Watch, capsys: pytest.CaptureFixture[str]) -> Outcome:
    capsys.readouterr()
    with watched(watch):
        doer = DOERS.get(command[0])
        code = doer(*command[1:]) if doer else answer([*command, "--lang", "en"])
    out, error = capsys.readouterr()
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
    if path.suffix == ".json":
        return isinstance(json.loads(path.read_bytes()), dict)
    if path.suffix == ".jsonl":
        return all(isinstance(json.loads(line), dict) for line in path.read_bytes().splitlines())
    if path.suffix == ".toml":
        return bool(tomllib.loads(path.read_text("utf-8")))
    if path.suffix == ".png":
        with Image.open(path) as image:
            image.load()
        return True
    if path.suffix == ".html":
        return path.read_text("utf-8").rstrip().endswith("</html>")
    if path.suffix == ".safetensors":
        with safe_open(path, "np") as file:
            return bool(list(file.keys()))
    return path.stat().st_size > 0


def problems(outcome: Outcome, event: tuple[str, str], before: dict[str, bytes]) -> list[str]:
    """What is wrong with how a command took a refusal; nothing, at best."""
    found: list[str] = []
    if outcome.code not in (0, 1, 2):
        found.append(f"code {outcome.code}")
    lines = outcome.error.splitlines()
    if outcome.code:
        if len(lines) != 1 or not lines[0].endswith("."):
            found.append(f"not one sentence: {outcome.error!r}")
        name = Path(event[1]).name
        above = Path(event[1]).parent.name
        if name not in outcome.error and above not in outcome.error and ".kurabe-" not in name:
            found.append(f"does not name {event[1]}: {outcome.error!r}")
        if "Error" in outcome.error or "Traceback" in outcome.error or "failed in" in outcome.error:
            found.append(f"speaks Python: {outcome.error!r}")
        if not any(word in outcome.error for word in WAYS_OUT):
            found.append(f"names no way out: {outcome.error!r}")
    now = files_of(Path())
    for name, content in before.items():
        if name not in now:
            found.append(f"{name} is gone")
        elif now[name] != content and not whole(Path(name)):
            found.append(f"{name} is torn")
    found += [f"{name} is left over" for name in now if Path(name).name.startswith(".kurabe-")]
    return found


# Every sentence tells what to do next in one of these words.
WAYS_OUT = (
    "give", "make room", "put back", "put it back", "remove", "close", "change", "same command",
    "wait", "kurabe ", "add", "--", "free", "needs", "does not exist",
)  # fmt: skip


def anew(command: list[str]) -> None:
    """A run that is to be trained is as it was before it began."""
    if command[0] == "train":
        folder = RunFolder(command[1])
        info = {k: v for k, v in folder.info.items() if k not in ("stopped", "images_seen")}
        recipe = folder.recipe_path.read_text("utf-8")
        shutil.rmtree(folder.path)
        folder.create(recipe, info | {"status": "planned"})


def in_a_copy(
    command: list[str], world: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, bytes]:
    os.chdir("/")
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(world, place)
    monkeypatch.chdir(place)
    anew(command)
    return files_of(Path())


def falsify(
    command: list[str], count: int | None, world: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    """Tries `count` operations with an error each, drawn with a fixed seed, or all with four."""
    monkeypatch.setenv("KURABE_CACHE", "cache")
    place = tmp_path / "world"
    in_a_copy(command, world, place, monkeypatch)
    plain = tried(command, Watch(place), capsys)
    assert plain.code == 0, plain.error
    in_a_copy(command, world, place, monkeypatch)
    watch = Watch(place)
    tried(command, watch, capsys)
    drawn, places = random.Random(str(command)), range(len(watch.seen))
    if count is None:
        pairs = [(at, number) for at in places for number in drawn.sample(NUMBERS, 4)]
    else:
        pairs = [(drawn.choice(places), drawn.choice(NUMBERS)) for _ in range(count)]
    assert pairs
    wrong: list[str] = []
    for at, number in pairs:
        before = in_a_copy(command, world, place, monkeypatch)
        broken = Watch(place, at, number)
        outcome = tried(command, broken, capsys)
        if at >= len(broken.seen):
            continue
        found = problems(outcome, broken.seen[at], before)
        again = tried(command, Watch(place), capsys)
        if again.code != 0 and not (outcome.code == 0 and command[0] in ("sample", "export")):
            found.append(f"does not go on: {again.error!r}")
        told = f"{' '.join(command)} at {at} {broken.seen[at]} {errno.errorcode[number]}"
        wrong += [f"{told}: {what}" for what in found]
    assert not wrong, f"{len(wrong)} of {len(pairs)}:\n" + "\n".join(wrong[:40])


@pytest.mark.parametrize("name", COMMANDS)
def test_a_refusal_in_any_command_is_one_sentence_and_loses_nothing(
    name, world, tmp_path, monkeypatch, capsys
):
    falsify(COMMANDS[name], 6, world, tmp_path, monkeypatch, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_every_refusal_in_every_command(name, world, tmp_path, monkeypatch, capsys):
    falsify(COMMANDS[name], None, world, tmp_path, monkeypatch, capsys)
