"""A damaged study.toml is the same sentence for `study`, `compare --study` and the page."""

import html
import os
import shutil
import sys

import pytest
from starlette.testclient import TestClient

from kurabe.cli import answer
from kurabe.errors import UserError
from kurabe.records import SHIPPED
from kurabe.studies.begin import Request, begin, name_of
from kurabe.studies.begin import _place as place
from kurabe.web import Library, create_app

WHOLE = (SHIPPED / "emoji-openmoji" / "study.toml").read_text("utf-8")
DAMAGE = {
    "half": WHOLE[:300],
    "empty": "",
    "no method": WHOLE.replace("method = ", "#", 1),
    "blocks a text": WHOLE.replace("blocks = 5", 'blocks = "many"', 1),
    "not finite": WHOLE + "budget_factor = nan\n",
    "baseline mistyped": WHOLE.replace('baseline = "', 'baseline = "x', 1),
    "method mistyped": WHOLE.replace('method = "ddpm"', 'method = "dpmm"', 1),
    "nested": "a = " + "[" * 3000,
}


@pytest.fixture
def studies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KURABE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "runs" / "s").mkdir(parents=True)
    return tmp_path / "runs"


@pytest.mark.parametrize("damage", DAMAGE)
def test_command_and_page_name_the_same_trouble(studies, capsys, damage):
    assert DAMAGE[damage] != WHOLE
    (studies / "s" / "study.toml").write_text(DAMAGE[damage], encoding="utf-8")
    said = []
    for command in (["study", "runs/s", "--dry-run", "--yes"], ["compare", "--study", "runs/s"]):
        assert answer(command) == 2
        said.append(capsys.readouterr().err)
    assert said[0] == said[1]
    assert said[0].count("\n") == 1 and len(said[0]) < 300
    library = Library(studies)
    library.refresh()
    client = TestClient(create_app(library), raise_server_exceptions=False)
    for path in ("/en/studies/s", "/en/compare?study=s", "/api/studies/s", "/api/compare?study=s"):
        answered = client.get(path)
        assert answered.status_code in (404, 422), path
        trouble = said[0].split(": ", 1)[-1].strip()[:15]
        assert trouble in html.unescape(answered.text).replace("\\", "")


def test_a_bom_and_line_ends_of_windows_are_read(studies, capsys):
    content = WHOLE.replace("\n", "\r\n").encode("utf-8-sig")
    (studies / "s" / "study.toml").write_bytes(content)
    assert answer(["compare", "--study", "runs/s", "--lang", "en"]) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes are Linux's")
def test_pages_are_served_whatever_lies_below_and_without_a_cache(studies, monkeypatch):
    shutil.copytree(SHIPPED / "emoji-openmoji", studies / os.fsdecode(b"n\xff"))
    (studies / "file").write_text("")
    monkeypatch.setenv("KURABE_CACHE", str(studies / "file" / "cache"))
    library = Library(studies, shipped=studies / "none")
    library.refresh()
    library.refresh()
    assert {run["study"] for run in library.runs(method="ddpm")} == {"emoji-openmoji"}
    client = TestClient(create_app(library), raise_server_exceptions=False)
    for path in ("/en/studies", "/api/studies", "/en/studies/n\\udcff", "/api/runs"):
        assert client.get(path).status_code == 200, path


def test_a_folder_is_called_by_its_whole_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set.zip").mkdir()
    assert [name_of(t) for t in ("birds.2023", "a/birds.2024/", "my.study.toml", "b.PARQUET")] == [
        "birds.2023", "birds.2024", "my.study", "b",
    ]  # fmt: skip
    assert name_of("set.zip") == "set.zip"
    with pytest.raises(UserError, match="does not exist"):
        begin(Request("あ" * 84))
    long = place(Request("あ" * 84)).name
    assert len(long.encode()) < 230 and long.endswith("-study")
    assert long != place(Request("あ" * 83 + "い")).name
    assert long == place(Request("あ" * 84)).name
