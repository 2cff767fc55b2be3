"""What a study is asked for on the command line: device, encoder, columns, seed, facts."""

import made_study
import pytest

from kurabe.cli import answer
from kurabe.errors import UserError
from kurabe.runs.precision import settled_device
from kurabe.studies.begin import Request, begin


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_columns_encoder_and_seed_are_the_studys():
    asked = Request("digits", size=8, columns=("ddpm", "masked-diffusion"), encoder="pixels",
                    first_seed=40, device="cpu")  # fmt: skip
    study, state, folder = begin(asked)
    assert [column.id for column in study.columns] == ["ddpm", "masked-diffusion"]
    assert (study.evaluation.encoder, study.first_seed, study.baseline) == ("pixels", 40, "ddpm")
    recipe = study.recipe(study.columns[1], 3, state.model_copy(update={"rates": {"ddpm": 1.0}}))
    assert (recipe.seed, recipe.where.device) == (42, "cpu")
    folder.path.mkdir()
    study.save(folder.study_path)
    assert begin(asked)[0] == study
    for change, says in (
        ({"columns": ("ddpm", "ddae")}, "--add ddae"),
        ({"first_seed": 41}, "--seed"),
        ({"encoder": "efficientnet-lite0"}, "--encoder"),
        ({"device": "cuda"}, "--device"),
    ):
        with pytest.raises(UserError, match=says):
            begin(Request(**{**vars(asked), **change}))


def test_a_column_that_cannot_start_is_refused_where_it_was_asked_for():
    with pytest.raises(UserError, match="lora starts from a base"):
        begin(Request("digits", size=8, columns=("ddpm", "lora")))
    with pytest.raises(UserError, match='No method "lorra"'):
        begin(Request("digits", size=8, columns=("ddpm", "lorra")))


def test_of_a_studys_file_only_some_columns():
    study, _, _ = begin(Request("fashion-animals", columns=("ddpm",)))
    assert [column.id for column in study.columns] == ["ddpm"] and study.baseline == "ddpm"


def test_auto_is_settled_when_a_study_begins():
    assert settled_device("cuda:1") == "cuda:1"
    assert settled_device("auto") in ("cpu", "cuda", "mps")
    study, _, _ = begin(Request("digits", size=8))
    assert study.device == settled_device("auto")


def test_a_studys_measured_rows_come_first_and_facts_where_asked(tmp_path, capsys):
    made_study.scans(tmp_path / "scans-study")
    assert answer(["compare", "--study", "scans", "--lang", "en"]) == 0
    short = capsys.readouterr().out
    assert "KID" in short and "Proposed" not in short and "--facts" in short
    assert answer(["compare", "--study", "scans", "--lang", "en", "--facts"]) == 0
    whole = capsys.readouterr().out
    assert whole.index("KID") < whole.index("Proposed")
