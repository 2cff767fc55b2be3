"""A package of someone else's, installed with pip: all that it adds is there, Kurabe unchanged."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import test_every_idea as every
from starlette.testclient import TestClient

from kurabe import cli, comparison, registry
from kurabe.methods import catalogue, choices_of, find
from kurabe.records import StudyFolder
from kurabe.web import Library, create_app

ROOT = Path(__file__).parents[2]
METHOD = "mean-colour-diffusion"
STUDY = """
name = "tiny"
baseline = "ddpm"
equal = "images"
blocks = 1
workers = 1
trials = { count = 0 }
budget = { images = 128 }
data = { source = "digits", size = 8, channels = 1, limit = 100 }
network = { kind = "convolutions", width = 8 }
optimiser = { batch = 32 }
columns = [{ id = "outside", method = "mean-colour-diffusion" }, { id = "ddpm", method = "ddpm" }]

[evaluation]
encoder = "thumbnail"
samples = 16
evaluations = 2
real_images = 32
loss_images = 16
log_snrs = [4]
grids = [1]
place = [0.5, 4, 1]
search_images = 40
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that pip installed the package into, from a copy: building leaves files."""
    place = tmp_path_factory.mktemp("outside")
    shutil.copytree(ROOT / "tests" / "outside", place / "source")
    command = [
        sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index",
        "--no-build-isolation", "--disable-pip-version-check",
        "--target", str(place / "site"), str(place / "source"),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return place / "site"


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(site))
    registry.refresh()
    yield
    registry.refresh()
    for name in [name for name in sys.modules if name.startswith("kurabe_outside")]:
        del sys.modules[name]


def test_the_package_is_small():
    files = [*(ROOT / "tests" / "outside").rglob("*.py"), *(ROOT / "tests/outside").rglob("*.toml")]
    assert sum(len(file.read_text("utf-8").splitlines()) for file in files) < 300


@pytest.mark.usefixtures("installed")
def test_its_ideas_are_in_the_registry_and_its_card_in_the_catalogue():
    found = {
        (idea.group, idea.name)
        for group in registry.GROUPS
        for idea in registry.ideas(group).values()
        if idea.package == "kurabe-outside"
    }
    assert found == {
        ("terms", "mean-colour"),
        ("adaptations", "random-first"),
        ("backbones", "convolutions"),
        ("encoders", "thumbnail"),
        ("cards", "kurabe-outside"),
    }
    assert registry.problems() == ()
    assert find("colour-keeping").id == METHOD
    assert choices_of(find(METHOD)).adaptation.kind == "random-first"


@pytest.mark.usefixtures("installed")
def test_its_method_stands_in_the_listing_and_in_a_table(capsys: pytest.CaptureFixture[str]):
    assert cli.answer(["methods", "--lang", "en"]) == 0
    assert f"{METHOD}  " in capsys.readouterr().out
    table = comparison.compare([find(METHOD), find("ddpm")], "en")
    rows = {row.key: [cell.text for cell in row.cells] for row in table.rows}
    assert rows["adaptation"][0] == "All weights but the first layer's"
    assert rows["objective"][0].endswith(" + 0.2 × error of the mean colour")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("lang", "said"), [("ja", "0.2 × 平均色の誤差"), ("en", "Error of the mean colour")]
)
def test_its_method_has_a_page_with_its_equation(tmp_path: Path, lang: str, said: str):
    client = TestClient(create_app(Library(tmp_path, shipped=tmp_path / "none")))
    page = client.get(f"/{lang}/methods/{METHOD}").text
    assert said in page and page.count('<math display="block">') == 2
    beside = client.get(f"/{lang}/compare?slugs={METHOD},ddpm")
    assert beside.status_code == 200
    assert find(METHOD).card.name.of(lang) in beside.text


@pytest.mark.usefixtures("installed")
def test_what_every_idea_must_hold_holds_for_its():
    own = [
        registry.look_up("adaptations", "random-first"),
        registry.look_up("terms", "mean-colour"),
    ]
    checked = 0
    for name, check in vars(every).items():
        marks = getattr(check, "pytestmark", [])
        if name.startswith("test_") and [mark.args[0] for mark in marks] == ["idea"]:
            groups = {idea.group for idea in marks[0].args[1]}
            for idea in own:
                if idea.group in groups:
                    check(idea)
                    checked += 1
    assert checked >= 10


def test_a_study_runs_its_method_backbone_and_encoder(site: Path, tmp_path: Path):
    (tmp_path / "tiny.toml").write_text(STUDY)
    paths = [str(ROOT / "src"), str(site)]
    done = subprocess.run(
        [sys.executable, "-m", "kurabe", "study", "tiny.toml", "--yes", "--out", "study"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Mean-colour diffusion" in done.stdout
    for run in StudyFolder(tmp_path / "study").runs().values():
        assert run.status == "finished"
        assert run.score("scores")


def test_without_the_package_nothing_of_it_is_known():
    registry.refresh()
    assert METHOD not in catalogue()
