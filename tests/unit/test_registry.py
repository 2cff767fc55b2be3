"""The registry: look-ups that end in an error, and packages that cannot be loaded."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from kurabe import cli, data, registry
from kurabe.errors import UserError
from kurabe.methods import Choices, Sampling, catalogue
from kurabe.recipe import Network
from kurabe.registry import GROUPS, Idea
from kurabe.training.model import make_denoiser

CARDS = Path(registry.__file__).parent / "methods" / "cards"

Install = Callable[..., None]
EVERY = [idea for group in GROUPS for idea in registry.ideas(group).values()]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put a package of one module on the path, as pip would lay it out."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def one(package: str, source: str) -> None:
        module = package.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(source)
        facts = tmp_path / f"{module}-1.0.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (facts / "entry_points.txt").write_text(f"[kurabe]\nideas = {module}\n")
        registry.refresh()

    yield one
    registry.refresh()
    for name in [name for name in sys.modules if name.startswith("outside_")]:
        del sys.modules[name]


def declares(group: str, name: str) -> str:
    return (
        "from kurabe.registry import Idea\n"
        f"IDEAS = (Idea({group!r}, {name!r}, 'math:sqrt'),)\n"
    )  # fmt: skip


@pytest.mark.parametrize("idea", EVERY, ids=lambda idea: f"{idea.group}-{idea.name}")
def test_every_idea_leads_to_code(idea: Idea):
    assert registry.look_up(idea.group, idea.name) == idea
    if idea.group != "cards":
        assert callable(idea.load())


def test_an_unknown_name_lists_the_near_ones_or_all():
    with pytest.raises(UserError, match=r"^There is no solver 'hein'; did you mean heun\?$"):
        registry.look_up("solvers", "hein")
    exports = "comfy, diffusers, diffusers-lora, kohya, peft, safetensors"
    with pytest.raises(UserError, match=rf"^There is no export 'melt'; there are {exports}\.$"):
        registry.look_up("exports", "melt")
    with pytest.raises(
        UserError, match=r"^There is no space 'x'; there are AutoencoderKL, pixels\.$"
    ):
        registry.look_up("spaces", "x")


def test_another_packages_idea_comes_through_the_same_door(install: Install):
    install("outside-one", declares("solvers", "euler"))
    assert registry.look_up("solvers", "euler").package == "outside-one"
    assert registry.load("solvers", "euler")(4.0) == 2.0
    assert registry.problems() == ()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import a_module_that_is_not_there", "ModuleNotFoundError: No module named"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("x = 1", "ValueError: outside_bad has no IDEAS"),
        ("IDEAS = 3", "TypeError: "),
        ("def f(:", "SyntaxError: "),
        (declares("spoons", "x"), "ValueError: outside_bad names a group 'spoons'"),
    ],
)
def test_a_package_that_cannot_be_loaded_is_one_sentence(install: Install, source: str, said: str):
    """Everything else goes on, the ideas of other packages included."""
    install("outside-bad", source)
    install("outside-good", declares("solvers", "euler"))
    [problem] = registry.problems()
    assert problem.startswith(f"The package outside-bad could not be loaded ({said}")
    assert "\n" not in problem
    assert registry.load("solvers", "euler")(4.0) == 2.0
    assert "heun" in registry.ideas("solvers")
    with pytest.raises(UserError, match="outside-bad could not be loaded"):
        registry.look_up("solvers", "mine")


def test_a_name_that_kurabe_has_stays_kurabes(install: Install):
    install("outside-twice", declares("solvers", "heun"))
    assert registry.look_up("solvers", "heun").package == "kurabe"
    assert registry.problems() == (
        "The solver 'heun' is named twice, by kurabe and outside-twice: that of kurabe stays.",
    )


def test_a_name_that_two_packages_take_is_neithers(install: Install):
    install("outside-a", declares("terms", "pull"))
    install("outside-b", declares("terms", "pull"))
    with pytest.raises(UserError, match=r"There is no term 'pull'.*outside-a and outside-b"):
        registry.look_up("terms", "pull")


def test_an_idea_whose_code_is_missing_is_one_sentence():
    idea = Idea("terms", "gone", "kurabe.registry:nothing_of_the_kind", package="outside")
    with pytest.raises(UserError, match=r"^The term 'gone' of outside cannot be loaded: .*\.$"):
        idea.load()


def test_what_is_added_in_a_process_is_found_once():
    registry.add(Idea("solvers", "euler", "math:sqrt"))
    try:
        assert registry.load("solvers", "euler")(4.0) == 2.0
        with pytest.raises(UserError, match="There is a solver 'euler' already"):
            registry.add(Idea("solvers", "euler", "math:sqrt"))
    finally:
        registry.refresh()


def test_reading_commands_go_on_and_say_what_was_left_out(
    install: Install, capsys: pytest.CaptureFixture[str]
):
    install("outside-bad", "raise RuntimeError('its own\\nfault')")
    assert cli.answer(["methods", "--lang", "en"]) == 0
    said = capsys.readouterr()
    assert "lora" in said.out
    assert said.err == (
        "The package outside-bad could not be loaded (RuntimeError: its own fault); "
        "what it adds is left out.\n"
    )


def card(folder: Path, name: str, text: str) -> str:
    (folder / "cards").mkdir(exist_ok=True)
    (folder / "cards" / f"{name}.toml").write_text(text)
    place = f"{folder.name}:cards"
    return f"from kurabe.registry import Idea\nIDEAS = (Idea('cards', '{name}', '{place}'),)\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CARDS.joinpath("lora.toml").read_text("utf-8"), "there is a method 'lora' already"),
        ("[card]\nid = 'x'", "mine.toml: card.name: Field required"),
        ("[card", "mine.toml: "),
    ],
    ids=["taken", "incomplete", "no TOML"],
)
def test_a_card_that_does_not_fit_is_left_out_and_told(
    install: Install, tmp_path: Path, text: str, said: str
):
    (tmp_path / "outside_cards").mkdir()
    (tmp_path / "outside_cards" / "__init__.py").touch()
    source = card(tmp_path / "outside_cards", "mine", text)
    install("outside-pack", source)
    assert "lora" in catalogue()
    [problem] = registry.problems()
    assert problem.startswith("Cards of the package outside-pack are left out (")
    assert said in problem


def test_what_a_method_names_and_nobody_has_is_told_with_the_near_names():
    settings = {"start": "base", "adaptation": {"kind": "bitfitt"}}
    with pytest.raises(ValidationError, match=r"no adaptation 'bitfitt'; did you mean bitfit\?"):
        Choices.model_validate({**settings, "objective": [{"term": "denoising"}]})


def test_a_backbone_nobody_has_and_settings_that_it_has_not_are_told():
    with pytest.raises(UserError, match=r"There is no backbone 'unett'; there is|there are"):
        make_denoiser(Network(kind="unett"), 8, 1)


STRIPES = """
import numpy as np
from kurabe.data import ImageSet
from kurabe.data.known.named import Named
from kurabe.registry import Idea

def stripes(size, progress):
    pixels = np.arange(20 * size * size, dtype=np.uint64).reshape(20, size, size, 1) * 37 % 251
    names = tuple(f"stripe-{i}" for i in range(20))
    return ImageSet("stripes", pixels.astype(np.uint8), names, np.arange(20))

STRIPES = Named("stripes", "CC0", 8, 1, stripes)
IDEAS = (
    Idea("datasets", "stripes", f"{__name__}:STRIPES"),
    Idea("datasets", "digits", f"{__name__}:STRIPES"),
    Idea("datasets", "odd", f"{__name__}:stripes"),
)
"""


def test_a_data_set_of_another_package_is_loaded_by_name(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("KURABE_CACHE", str(tmp_path / "cache"))
    install("outside-stripes", STRIPES)
    assert data.load("stripes").pixels.shape == (20, 8, 8, 1)
    assert list(data.available())[-1] == "stripes"
    assert registry.problems() == (
        "The data set 'digits' of outside-stripes is Kurabe's name already.",
        "The data set 'odd' of outside-stripes is no Named.",
    )


def test_a_solver_nobody_has_is_refused_where_it_is_chosen():
    with pytest.raises(ValidationError, match=r"no solver 'heunn'; did you mean heun\?"):
        Sampling(solver="heunn")
