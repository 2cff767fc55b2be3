"""Cards of one's own, in the folder that KURABE_CARDS names: shown, exported, checked, refused."""

import csv
import io
import json
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import kurabe
from kurabe import registry
from kurabe.cli import answer
from kurabe.web import Library, create_app

BITFIT = Path(kurabe.__file__).parent / "methods" / "cards" / "bitfit.toml"
MINE = (
    BITFIT.read_text("utf-8")
    .replace('id = "bitfit"', 'id = "my-method"')
    .replace("BitFit (bias-only fine-tuning)", "My method")
    .replace("BitFit（バイアスのみの微調整）", "私の手法")
)


@pytest.fixture
def cards(tmp_path, monkeypatch):
    folder = tmp_path / "cards"
    folder.mkdir()
    (folder / "mine.toml").write_text(MINE, encoding="utf-8")
    monkeypatch.setenv("KURABE_CARDS", str(folder))
    monkeypatch.chdir(tmp_path)
    registry.refresh()
    yield folder
    monkeypatch.undo()
    registry.refresh()


def written(capsys, *words):
    assert answer(["compare", "my-method", "ddpm", "--lang", "en", "--format", *words]) == 0
    return capsys.readouterr().out


def test_a_card_of_ones_own_stands_beside_the_others_and_is_marked_in_every_form(cards, capsys):
    rows = {row["key"]: row for row in json.loads(written(capsys, "json"))["rows"]}
    said = ["one's own, not checked by Kurabe", "shipped"]
    assert rows["card"]["values"] == said
    assert rows["summary"]["values"][0].startswith("All weight matrices are frozen")
    table = list(csv.reader(io.StringIO(written(capsys, "csv"))))
    assert any(set(said) <= set(row) for row in table)
    for form in ("markdown", "latex", "html"):
        text = written(capsys, form)
        assert "My method" in text
        assert "not checked by Kurabe" in text
    assert answer(["methods", "--lang", "en"]) == 0
    listing = capsys.readouterr().out
    (line,) = (line for line in listing.splitlines() if "my-method" in line)
    assert line.rstrip().endswith("*")
    assert "* a card of your own" in listing
    assert answer(["methods", "my-method", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["origin"] == "own"
    # Without one of one's own in it a table has no such row.
    assert answer(["compare", "lora", "ddpm", "--format", "json"]) == 0
    assert "card" not in {row["key"] for row in json.loads(capsys.readouterr().out)["rows"]}


def test_pages_show_it_and_the_published_dataset_does_not(cards):
    client = TestClient(create_app(Library(cards)))
    for lang, badge in (("en", "Your own"), ("ja", "自作")):
        page = client.get(f"/{lang}/").text
        (place,) = (at for at in page.split("<li>") if 'value="my-method"' in at)
        assert f'<span class="badge">{badge}</span>' in place
        assert page.count(f'<span class="badge">{badge}</span>') == 1
    assert "not checked by Kurabe" in client.get("/en/methods/my-method").text
    assert "not checked by Kurabe" in client.get("/en/compare?slugs=my-method,ddpm").text
    assert "自作（Kurabe は未確認）" in client.get("/ja/compare?slugs=my-method,ddpm").text
    exported = client.get("/en/compare/export/csv?slugs=my-method,ddpm").text
    assert "not checked by Kurabe" in exported
    published = client.get("/dataset/kurabe.json")
    assert published.status_code == 200
    assert "my-method" not in published.text


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (MINE.replace('id = "my-method"', 'id = "lora"'),
         "mine.toml: card.id: there is a method 'lora' already"),
        (MINE.replace('yomi = "びっとふぃっと"', 'yomi = "bit"'), "mine.toml: card.yomi: "),
        (MINE.replace('start = 2021', 'start = "then"'), "mine.toml: card.years.start: "),
        (MINE.replace('"difffit"', '"nothing"'),
         "mine.toml: card.related: there is no method 'nothing'"),
        (MINE.replace("[card]", "[card"), "mine.toml: "),
        (MINE.replace("[card.years]", "[card.ages]"), "mine.toml: card.years: "),
    ],
)  # fmt: skip
def test_a_wrong_card_is_refused_with_its_file_and_field(cards, capsys, changed, says):
    (cards / "mine.toml").write_text(changed, encoding="utf-8")
    refused(capsys, says)


def test_a_folder_that_is_none_and_what_cannot_be_read_are_refused(cards, capsys, monkeypatch):
    (cards / "mine.toml").write_bytes(b"\xff\xfe")
    refused(capsys, "mine.toml: ")
    (cards / "mine.toml").unlink()
    refused(capsys, "holds no cards")
    (cards / "a.toml").write_text(MINE, encoding="utf-8")
    (cards / "b.toml").write_text(MINE, encoding="utf-8")
    refused(capsys, "b.toml: card.id: there is a method 'my-method' already")
    monkeypatch.setenv("KURABE_CARDS", str(cards / "nowhere"))
    refused(capsys, "is not a folder of cards")


def refused(capsys, says):
    for words in (["methods"], ["compare", "lora", "ddpm"], ["serve", "--port", "0"]):
        assert answer(words) == 2
        said = capsys.readouterr().err
        assert says in said
        assert said.count("\n") == 1
