"""What `kurabe compare` says of a study, told by where the study lies."""

import made_study
import pytest

from kurabe import records
from kurabe.commands import facts


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A study as it is shipped: in the package's folder, which no command should name."""
    monkeypatch.setattr(records, "SHIPPED", tmp_path / "package")
    made_study.study(tmp_path / "package" / "emoji", {"kid": {"scratch": [0.1, 0.2, 0.3]}})
    return tmp_path


@pytest.mark.parametrize("ids", [(), ("ddpm", "lora")])
def test_of_a_shipped_study_commands_name_the_study(shipped, ids, capsys):
    table = facts.table(ids, "emoji", "en")
    assert table.study.command == "kurabe study emoji"
    facts.compare(ids, "emoji", "json", "en")
    text = capsys.readouterr().out
    assert "kurabe study emoji" in text
    assert str(shipped) not in text


def test_of_a_study_of_ones_own_commands_name_its_folder(shipped, monkeypatch):
    made_study.study(shipped / "here" / "mine-study", {"kid": {"scratch": [0.1]}})
    monkeypatch.chdir(shipped / "here")
    assert facts.table((), "mine", "en").study.command == "kurabe study mine-study"


def test_what_trains_is_said_as_far_as_the_definition_knows_it():
    row = facts.table(("lora", "base", "ddpm", "contrastive-diffusion"), None, "en").row(
        "trainable"
    )
    assert [cell.text for cell in row.cells] == [
        "8 × (inputs + outputs) of each linear layer, the rest is frozen (all linear layers)",
        "0 (nothing trains)",
        "All (100 %)",
        "All (100 %), and a projection head 128 wide that is thrown away",
    ]
    assert row.mark == "≠"
    same = facts.table(("ddpm", "full-fine-tuning"), None, "ja").row("trainable")
    assert same.mark is None
