"""The house: what pyproject, pins, READMEs and decisions say of one another and of kurabe."""

import ast
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import kurabe
from kurabe.methods import catalogue

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
CONTRACTS = {c["name"]: c for c in PROJECT["tool"]["importlinter"]["contracts"]}
LIGHT = CONTRACTS["Catalogue, records, table and data need no torch"]["source_modules"]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def requirements() -> list[Requirement]:
    extras = PROJECT["project"]["optional-dependencies"].values()
    return [Requirement(r) for rs in (PROJECT["project"]["dependencies"], *extras) for r in rs]


@pytest.mark.parametrize("requirement", requirements(), ids=lambda r: r.name)
def test_every_dependency_is_pinned_inside_its_range(requirement: Requirement):
    assert pins()[canonicalize_name(requirement.name)] in requirement.specifier


def test_the_pins_are_what_these_tests_run_with():
    from importlib.metadata import version

    for name in ("numpy", "scipy", "pydantic", "torch"):
        assert version(name).split("+")[0] == pins()[name]


def test_packages_without_torch_import_where_nothing_that_trains_is_installed():
    """Every module of the light packages, in a process in which torch and its like are absent."""
    source = f"""
import importlib, pkgutil, sys
for heavy in ("torch", "diffusers", "peft", "accelerate", "transformers", "safetensors", "sklearn",
              "torchmetrics", "resvg_py"):
    sys.modules[heavy] = None
for name in {[*LIGHT, "kurabe", "kurabe.cli"]!r}:
    package = importlib.import_module(name)
    for found in pkgutil.walk_packages(getattr(package, "__path__", []), name + "."):
        if name != "kurabe":
            importlib.import_module(found.name)
from kurabe.methods import catalogue
print(len(catalogue()))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{len(catalogue())}\n"


def test_every_part_of_kurabe_has_its_place_in_the_import_rules():
    placed = set(LIGHT)
    for contract in CONTRACTS.values():
        for layer in contract.get("layers", []):
            placed |= {part.strip() for part in layer.split("|")}
    # Words, recipes as files and shipped results hold no code that could import the wrong way.
    placed |= {f"kurabe.{name}" for name in ("__main__", "words", "recipes", "results")}
    parts = {f"kurabe.{module.name}" for module in pkgutil.iter_modules(kurabe.__path__)}
    assert parts <= placed


def test_what_needs_no_torch_is_checked_strictly():
    strict = {
        path.removeprefix("src/").removesuffix(".py").replace("/", ".")
        for path in PROJECT["tool"]["basedpyright"]["strict"]
    }
    assert set(LIGHT) <= strict


@pytest.mark.parametrize("readme", ["README.md", "README.ja.md"])
def test_readmes_do_not_count_what_grows(readme: str):
    """A card is all that a method adds; a number of methods in prose would have to be mended."""
    text = (ROOT / readme).read_text("utf-8")
    assert not re.search(r"\d+ (of the \d+ )?methods|\d+ の手法", text)
    assert "`kurabe methods`" in text


def test_both_readmes_name_the_same_commands_and_the_command_line_has_them():
    def commands(readme: str) -> list[str]:
        lines = re.findall(r"^\$ (.*?)(?: +#.*)?$", (ROOT / readme).read_text("utf-8"), re.M)
        return [line.removeprefix(".venv/bin/") for line in lines]

    english = commands("README.md")
    assert english == commands("README.ja.md")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    said = [line.split()[1:] for line in english if line.startswith("kurabe")]
    subcommands = {" ".join(words[: 2 if words[0] == "data" else 1]) for words in said}
    assert len(subcommands) >= 9
    for command in subcommands | {"demo"}:
        done = subprocess.run(
            [sys.executable, "-m", "kurabe", *command.split(), "--help"],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        assert done.returncode == 0, (command, done.stderr)


def test_every_decision_is_in_the_index():
    folder = ROOT / "docs" / "decisions"
    pages = {page.name for page in folder.glob("0*.md")}
    assert pages == set(re.findall(r"\((0.*?\.md)\)", (folder / "README.md").read_text("utf-8")))
    for page in pages:
        title, *parts = re.findall(
            r"^# .*|^\*\*\w[\w ]*\.\*\*", (folder / page).read_text("utf-8"), re.M
        )
        assert title.startswith(f"# {int(page[:4])}. ")
        assert parts == [
            "**Decided.**",
            "**Why.**",
            "**What follows.**",
            "**Costs.**",
            "**What would change it.**",
        ]


def test_no_module_is_longer_than_400_lines_and_no_function_than_60():
    long = []
    for path in (ROOT / "src").rglob("*.py"):
        text = path.read_text("utf-8")
        if text.count("\n") > 400:
            long.append(path.name)
        long += [
            f"{path.name}: {node.name}"
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and node.end_lineno - node.lineno >= 60
        ]
    assert not long
