"""What a network learned from never measures it, by whatever name, path or detour it is called."""

import shutil
from pathlib import Path

import pytest

from kurabe import bases
from kurabe.adaptations.full import Full
from kurabe.cli import answer
from kurabe.errors import UserError
from kurabe.methods import choices_of, find
from kurabe.methods.choices import Choices
from kurabe.objectives.denoising import Denoising
from kurabe.objectives.encoder_alignment import EncoderAlignment
from kurabe.recipe import Budget, DataSettings, Evaluation, Recipe
from kurabe.records import RunFolder
from kurabe.runs.teachers import check_measured_by_another

SHIPPED = bases.find("emoji-32").path
DOES = "would be a pupil's marks by its own teacher; measure with another encoder (--encoder)."


def following(encoder: str) -> Choices:
    return Choices(
        start="random",
        adaptation=Full(),
        objective=(Denoising(), EncoderAlignment(encoder=encoder)),
    )


def measured(encoder: str, choices: Choices, base: str | None = None) -> Recipe:
    return Recipe(
        method="tiny",
        choices=choices,
        data=DataSettings(source="digits", size=8, channels=1),
        budget=Budget(images=64),
        base=base,
        evaluation=Evaluation(encoder=encoder),
    )


def recorded(folder: Path, choices: Choices, base: str | None = None) -> str:
    """A run of these choices, which has no weights yet."""
    return str(RunFolder(folder).create(measured("pixels", choices, base).to_toml(), {}).path)


def refused(recipe: Recipe) -> bool:
    try:
        check_measured_by_another(recipe)
    except UserError as error:
        assert str(error).endswith(DOES) and str(error).startswith("tiny learned from ")
        return True
    return False


LORA = choices_of(find("lora"))


@pytest.fixture
def copied(tmp_path: Path) -> str:
    return str(shutil.copytree(SHIPPED, tmp_path / "elsewhere"))


def test_a_base_is_itself_by_its_path_and_as_a_copy(copied: str) -> None:
    for path in (str(SHIPPED), copied):
        assert refused(measured(f"base:{path}", following("base:emoji-32")))
        assert refused(measured("base:emoji-32", following(f"base:{path}")))
        assert refused(measured(f"base:{path}", LORA, "emoji-32"))
        assert refused(measured("base:emoji-32", LORA, path))
    assert not refused(measured("base:fashion-28", following("base:emoji-32")))
    assert not refused(measured("base:fashion-28", LORA, "emoji-32"))
    assert not refused(measured(f"base:{copied}", choices_of(find("ddpm"))))


def test_runs_stand_for_all_that_they_learned_from(tmp_path: Path) -> None:
    one = recorded(tmp_path / "one", LORA, "emoji-32")
    two = recorded(tmp_path / "two", LORA, one)
    pupil = recorded(tmp_path / "pupil", following("efficientnet-lite0"))
    alone = recorded(tmp_path / "alone", choices_of(find("ddpm")))
    # A pair of one base, in each place, and over two steps.
    assert refused(measured(f"base:{one}", following("base:emoji-32")))
    assert refused(measured(f"base:{two}", following(f"base:{SHIPPED}")))
    assert refused(measured("base:emoji-32", following(f"base:{two}")))
    assert refused(measured(f"base:{one}", LORA, "emoji-32"))
    assert refused(measured("base:emoji-32", LORA, two))
    # What a base followed before it was a base.
    assert refused(measured("efficientnet-lite0", LORA, pupil))
    assert refused(measured("efficientnet-lite0", following(f"base:{pupil}")))
    assert refused(measured(f"base:{pupil}", following("efficientnet-lite0")))
    assert not refused(measured("efficientnet-lite0", LORA, one))
    assert not refused(measured(f"base:{alone}", following("base:emoji-32")))
    assert not refused(measured(f"base:{pupil}", following("base:emoji-32")))


def test_a_run_whose_base_is_that_run_ends(tmp_path: Path) -> None:
    itself = recorded(tmp_path / "ring", LORA, str(tmp_path / "ring"))
    assert refused(measured(f"base:{itself}", following(f"base:{itself}/")))


def test_a_name_with_nothing_behind_its_colon_is_the_name(tmp_path: Path) -> None:
    assert refused(measured("efficientnet-lite0:", following("efficientnet-lite0")))
    assert refused(measured("efficientnet-lite0", following("efficientnet-lite0:")))


def test_a_model_of_transformers_is_its_folder(tmp_path: Path) -> None:
    (tmp_path / "vit").mkdir()
    (tmp_path / "vit" / "model.safetensors").write_bytes(b"weights")
    name = f"transformers:{tmp_path / 'vit'}"
    assert refused(measured(f"{name}/", following(name)))
    assert refused(measured(f"transformers:{tmp_path}/vit/../vit", following(name)))


@pytest.mark.parametrize(
    "words",
    [
        ("fit", "repa", "--data", "digits", "--budget", "64img", "--encoder", f"base:{SHIPPED}"),
        ("fit", "repa", "--data", "digits", "--budget", "64img",
         "--set", f"evaluation.encoder=base:{SHIPPED}"),
        ("fit", "repa", "--data", "digits", "--budget", "64img",
         "--set", 'choices.objective=[{term="denoising"},{term="encoder-alignment",'
         'encoder="efficientnet-lite0:"}]'),
        ("study", "digits", "--columns", "ddpm,repa", "--yes", "--encoder", f"base:{SHIPPED}"),
    ],
    ids=["encoder", "set", "set-term", "study"],
)  # fmt: skip
def test_commands_say_so_before_anything_is_made(
    words: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert answer(list(words)) == 2
    assert capsys.readouterr().err.endswith(f"so that its scores {DOES}\n")
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_measured_again_is_asked_as_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunFolder(tmp_path / "run")
    run.create(measured(f"base:{SHIPPED}", following("base:emoji-32")).to_toml(), {})
    run.update(status="finished", image_shape=[8, 8, 1])
    assert answer(["evaluate", str(run.path)]) == 2
    assert capsys.readouterr().err.endswith(f"so that its scores {DOES}\n")
