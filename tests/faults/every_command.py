"""A working folder in which every command has something to do, and the commands, a line each."""

import html
import json
import re
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import uvicorn
from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel
from inline import Inline
from PIL import Image
from safetensors.torch import save_file
from starlette.testclient import TestClient

import kurabe
from kurabe import registry
from kurabe.cli import answer
from kurabe.data.images import ImageSet
from kurabe.data.known import named
from kurabe.data.known.fetch import Address, Source, digest_of
from kurabe.errors import sentence
from kurabe.records import RunFolder, StudyFolder
from kurabe.registry import Idea
from kurabe.runs.worker import execute
from kurabe.studies.single import Single, single_study
from kurabe.studies.state import StudyState
from kurabe.studies.study import Study
from kurabe.training import calibration
from kurabe.web import Library, create_app

CARDS = Path(kurabe.__file__).parent / "methods" / "cards"
EVALUATION = {
    "encoder": "pixels",
    "samples": 8,
    "evaluations": 1,
    "loss_images": 4,
    "log_snrs": [4],
    "grids": [1],
    "place": [0.5, 4, 1],
    "search_images": 20,
    "views": 1,
}
SETTINGS = {
    "name": "few",
    "baseline": "ddpm",
    "equal": "images",
    "blocks": 2,
    "threads": 1,
    "workers": 1,
    "budget": {"images": 64},
    "trials": {"count": 0},
    "data": {"source": "pictures", "size": 8, "channels": 1},
    "network": {"patch": 2, "width": 16, "depth": 2, "heads": 2, "decoder": 1},
    "optimiser": {"batch": 64, "held_out_share": 1.0},
    "evaluation": EVALUATION,
    "columns": [{"id": name, "method": name} for name in ("ddpm", "masked-diffusion")],
}
ONE = {**SETTINGS, "blocks": 1, "columns": SETTINGS["columns"][:1]}
TRIED = {**ONE, "name": "tried", "trials": {"count": 1}}
# What is fitted anew is as small as the study's runs; what is found finished has another width.
SMALL = {key: SETTINGS[key] for key in ("network", "optimiser", "evaluation")}
SET = [
    word
    for group, values in SMALL.items()
    for key, value in values.items()
    for word in ("--set", f"{group}.{key}={json.dumps(value)}")
]
SIZE = ["--size", "8", "--device", "cpu", "--budget", "64img"]
PAGES = ("/en/", "/en/studies", "/ja/studies/few", "/api/studies", "/api/runs", "/en/studies/few",
         "/api/studies/few", "/api/studies/few/progress", "/en/compare?study=few")  # fmt: skip
RUN = "few/runs/ddpm/block-1"
TABLES = ("json", "csv", "markdown", "latex", "bibtex", "html", "svg")
COMMANDS = {
    "methods": ["methods"],
    "method": ["methods", "ddpm", "--json"],
    "facts": ["compare", "ddpm", "lora"],
    "list": ["data", "list"],
    "get": ["data", "get", "fetched"],
    "check": ["data", "check", "pictures"],
    "check labels": ["data", "check", "pictures", "--labels", "labels.csv"],
    "check zip": ["data", "check", "pictures.zip"],
    "check parquet": ["data", "check", "pictures.parquet"],
    "check tar": ["data", "check", "pictures.tar", "--json"],
    "compare": ["compare", "--study", "few"],
    **{f"compare {form}": ["compare", "--study", "few", "--format", form] for form in TABLES},
    "runs": ["runs", "--runs", "few"],
    "plan": ["study", "few/study.toml", "--out", "few", "--dry-run"],
    "study": ["study", "few/study.toml", "--out", "few", "--yes"],
    "study anew": ["study", "tried.toml", "--out", "tried", "--yes"],
    "demo": ["demo", "--out", "few"],
    # On the recipes of the working folder: the shipped ones train for ten minutes.
    "demo anew": ["demo", "--out", "shown"],
    "sample": ["sample", RUN, "-n", "2", "--steps", "1", "--out", "drawn"],
    "sample base": ["sample", "foreign", "-n", "1", "--steps", "1", "--out", "drawn"],
    "embed": ["embed", RUN, "--data", "pictures", "--out", "features.parquet"],
    "label": ["label", RUN, "--data", "pictures", "--labels", "few.csv", "--out", "told.csv"],
    "nearest": ["nearest", RUN, "--data", "pictures", "--out", "near.html"],
    "evaluate": ["evaluate", RUN],
    "evaluate others": ["evaluate", RUN, "--data", "pictures.zip"],
    "export": ["export", "tuned", "--out", "exported"],
    "adapter check": ["adapter", "check", "lent.safetensors", "--base", "foreign"],
    "train": ["train", RUN],
    "fit": ["fit", "ddpm", "--data", "pictures", "--out", "fitted", *SIZE,
            "--set", "network.width=48"],
    "fit anew": ["fit", "masked-diffusion", "--data", "pictures", "--out", "anew", *SIZE, *SET],
    "numbers": ["numbers", "numbers.csv", "--metric", "kid=down,0.01", "--out", "numbers"],
    "serve": ["serve", "--port", "0"],
    "pages": ["pages", "few"],
}  # fmt: skip
# These read the package's cards, and nothing that lies in the working folder.
OF_PACKAGE = ("methods", "method", "facts")


def below(name: str, place: Path) -> tuple[Path, ...]:
    """Where the command's file operations are counted."""
    return (place, CARDS) if name in OF_PACKAGE else (place,)


def make(place: Path) -> None:
    """Pictures in class folders and in files, labels, a finished study, runs, a warm cache."""
    rng = np.random.default_rng(0)
    rows, cells = ["file,label"], []
    for k in range(24):
        kind = ("bright", "dark")[k % 2]
        (place / "pictures" / kind).mkdir(parents=True, exist_ok=True)
        low = 120 if kind == "bright" else 0
        path = place / "pictures" / kind / f"{k}.png"
        Image.fromarray(rng.integers(low, low + 120, (8, 8), np.uint8)).save(path)
        rows.append(f"{k}.png,{kind}")
        cells.append({"bytes": path.read_bytes(), "path": path.name})
    (place / "labels.csv").write_text("\n".join(rows) + "\n")
    (place / "few.csv").write_text("\n".join(rows[:9]) + "\n")
    (place / "numbers.csv").write_text("column,seed,kid\na,1,0.1\na,2,0.2\nb,1,0.3\nb,2,0.5\n")
    with (
        zipfile.ZipFile(place / "pictures.zip", "w") as packed,
        tarfile.open(place / "pictures.tar", "w") as tape,
    ):
        # Others than in the folder, for a run that is measured on them.
        for k in range(24):
            path = place / f"{k}.png"
            Image.fromarray(rng.integers(0, 255, (8, 8), np.uint8)).save(path)
            packed.write(path, path.name)
            tape.add(path, path.name)
            path.unlink()
    pq.write_table(pa.table({"image": cells}), place / "pictures.parquet")
    (place / "served").mkdir()
    (place / "served" / "drawings.bin").write_bytes(DRAWINGS)
    DDIMPipeline(_unet(), DDIMScheduler(clip_sample=False)).save_pretrained(place / "foreign")
    Study.checked(TRIED, "tried").save(place / "tried.toml")
    (place / "recipes").mkdir()
    demo = {**ONE, "name": "demo"}
    drawings = {**SETTINGS["data"], "source": "openmoji", "limit": 24}
    Study.checked({**demo, "data": drawings}, "demo").save(place / "recipes" / "demo.toml")
    with pytest.MonkeyPatch.context() as patch, small(patch):
        patch.chdir(place)
        Study.checked({**demo, "data": {"source": "digits", "limit": 24}}, "demo").save(
            Path("recipes/demo-digits.toml")
        )
        study, folder = Study.checked(SETTINGS, "few"), StudyFolder("few")
        folder.path.mkdir()
        study.save(folder.study_path)
        StudyState(rates={"ddpm": 1.0, "masked-diffusion": 1.0}).write(folder.state_path)
        # Once all the way: the runs, the table, the page and the caches are there.
        assert answer(["study", "few/study.toml", "--out", "few", "--yes"]) == 0
        assert answer(["demo", "--out", "few", "--dry-run"]) == 0
        _fitted("fitted", Single("ddpm", "pictures", settings={"network": {"width": 48}}))
        save_file({"conv_in.diff": torch.ones(8, 1, 3, 3)}, "lent.safetensors")
        _fitted("tuned", Single("full-fine-tuning", "pictures", base="foreign"))


def _unet() -> UNet2DModel:
    sides = {"sample_size": 8, "block_out_channels": (8,), "layers_per_block": 1}
    blocks = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",)}
    return UNet2DModel(in_channels=1, out_channels=1, norm_num_groups=4, **sides, **blocks)


def _fitted(name: str, asked: Single) -> None:
    """The run that `kurabe fit` finds finished, trained in this process."""
    single = Single(
        asked.method, asked.source, base=asked.base, size=8, device="cpu", budget="64img",
        settings=asked.settings,
    )  # fmt: skip
    study, folder = single_study(single), RunFolder(name)
    recipe = study.recipe(study.columns[0], 1, StudyState(rates={asked.method: 1.0}))
    info = {"method": asked.method, "seed": 0, "trial": 1.0, "budget_asked": {"images": 64}}
    folder.create(recipe.to_toml(), {"id": f"{recipe.digest}-0", "column": asked.method, **info})
    # As of a trial, whose measuring is left out.
    execute(folder)


@contextmanager
def small(patch: pytest.MonkeyPatch) -> Generator[None]:
    """Everything as it is, but in this process, soon over, and without a network."""
    patch.setenv("KURABE_CACHE", "cache")
    patch.setenv("PIP_NO_INDEX", "1")
    for module in ("kurabe.execution.local", "kurabe.studies.calibration"):
        patch.setattr(f"{module}.subprocess.Popen", Inline)
    # Threads that wait for each other wait long on a machine that is not theirs alone.
    patch.setattr("kurabe.studies.single.cores", lambda: 1)
    # A speed from less than a tenth of a second.
    patch.setattr(calibration.calibrate, "__defaults__", (0.001,))
    patch.setattr(calibration, "SLICE", 0.001)
    patch.setattr("kurabe.commands.studying.RECIPES", Path("recipes"))
    patch.setitem(named._KNOWN, "openmoji", OPENMOJI)
    patch.setattr(uvicorn.Server, "run", _begin_and_end)
    registry.refresh()
    registry.add(Idea("datasets", "fetched", "every_command:FETCHED"))
    yield
    registry.refresh()
    torch.use_deterministic_algorithms(False)


_serve = uvicorn.Server.run


def _begin_and_end(server: uvicorn.Server, **settings: object) -> None:
    server.should_exit = True
    _serve(server, **settings)


def _drawings(name: str, content: bytes) -> ImageSet:
    pixels = np.frombuffer(content, np.uint8).reshape(-1, 8, 8, 1)
    return ImageSet(name, pixels, tuple(map(str, range(len(pixels)))), np.arange(len(pixels)))


def _fetched(size: int, progress: Callable[[str], None] | None) -> ImageSet:
    """As every known set that is fetched, from a folder instead of a server."""
    address = Address(Path("served").absolute().as_uri(), ("drawings.bin",))
    digest = digest_of({"drawings.bin": DRAWINGS})
    (content,) = Source("drawings", ("*.bin",), (address,), digest, "CC0").read(progress).values()
    return _drawings("fetched", content)


DRAWINGS = np.random.default_rng(1).integers(0, 255, (30, 8, 8, 1), np.uint8).tobytes()
FETCHED = named.Named("drawings", "CC0", 8, 1, _fetched)
OPENMOJI = named.Named("drawings", "CC0", 8, 1, lambda *_: _drawings("openmoji", DRAWINGS))


def _train(run: str) -> int:
    """What a worker does with a run's folder, in this process."""
    try:
        execute(RunFolder(run))
    except Exception as error:
        print(sentence(error), file=sys.stderr)
        return 1
    return 0


def _pages(below: str) -> int:
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


_DOERS = {"train": _train, "pages": _pages}


def do(command: list[str]) -> int:
    """Carry out the command; its exit code."""
    registry.refresh()
    registry.add(Idea("datasets", "fetched", "every_command:FETCHED"))
    doer = _DOERS.get(command[0])
    return doer(*command[1:]) if doer else answer([*command, "--lang", "en"])


def anew(command: list[str]) -> None:
    """A run that is to be trained is as it was before it began; what was fetched is not there."""
    if command[0] == "train":
        folder = RunFolder(command[1])
        info = {k: v for k, v in folder.info.items() if k not in ("stopped", "images_seen")}
        recipe = folder.recipe_path.read_text("utf-8")
        shutil.rmtree(folder.path)
        folder.create(recipe, info | {"status": "planned"})
