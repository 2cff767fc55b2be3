"""One door for every idea: a group and a name lead to settings, to code and to words.

An idea is declared by a value `Idea` in the tuple IDEAS of a module that imports without torch.
Built-in ones are found in the rooms of this package (`ROOMS`): a module or folder there that
holds IDEAS is one. Those of another package come through its entry points,

    [project.entry-points."kurabe"]
    anything = "package.module"          # a module with IDEAS

and are treated alike. What cannot be loaded, or takes a name that is taken, is left out and told
in one sentence (`problems`); the rest goes on. No look-up has a default: an unknown name is an
error that lists those that come near.
"""

import difflib
import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata
from typing import Any, TypeVar

from kurabe.errors import UserError

# What there can be ideas of, and how one of them is called in a sentence.
GROUPS = {
    "adaptations": "adaptation",
    "terms": "term",
    "backbones": "backbone",
    "spaces": "space",
    "conditions": "condition",
    "guidance": "guidance",
    "encoders": "encoder",
    "solvers": "solver",
    "optimisers": "optimiser",
    "cards": "folder of cards",
    "datasets": "data set",
    "exports": "export",
    "engines": "engine",
}
ROOMS = (
    "adaptations",
    "objectives",
    "backbones",
    "spaces",
    "conditions",
    "guidance",
    "encoders",
    "exports",
    "builtin_ideas",
)
OWN = "kurabe"
T = TypeVar("T")


@dataclass(frozen=True)
class Idea:
    """An idea: what it is called, where its code is, what may be set.

    group: one of `GROUPS`. name: as recipes and cards write it.
    made_by: "module:attribute", imported when the idea is used and not before; of cards
        "package:folder", where their TOML files lie.
    settings: what may be set, a frozen value that needs no torch; None where nothing is.
    label: what a person reads for the name; the name itself where there is none.
    package: the distribution that it came from; the registry fills it in.
    """

    group: str
    name: str
    made_by: str
    settings: type | None = None
    label: str | None = None
    package: str = OWN

    def load(self) -> Any:
        """The class or function that makes the idea; UserError where it cannot be imported."""
        module, _, attribute = self.made_by.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise UserError(
                f"The {GROUPS[self.group]} '{self.name}' of {self.package} cannot be loaded: "
                f"{' '.join(str(error).split())}."
            ) from error


def ideas(group: str) -> Mapping[str, Idea]:
    """All ideas of a group by name, built-in ones first."""
    return _registry().ideas[group]


def look_up(group: str, name: str) -> Idea:
    """The idea of that group and name; UserError that lists the near names, or all of them."""
    known = ideas(group)
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, 3, 0.6)
    listed = f"did you mean {' or '.join(near)}?" if near else _all(known)
    kind = GROUPS[group]
    raise UserError(" ".join([f"There is no {kind} '{name}'; {listed}", *problems()]))


def load(group: str, name: str) -> Any:
    """What makes the idea of that group and name."""
    return look_up(group, name).load()


def problems() -> tuple[str, ...]:
    """One sentence for each package or idea that was left out."""
    return tuple(_registry().problems)


def left_out(problem: str) -> None:
    """Add a sentence to `problems`, once: what an idea gave could not be used."""
    if problem not in _registry().problems:
        _registry().problems.append(problem)


def told() -> tuple[str, ...]:
    """The problems that came up so far; () where nothing was looked up yet."""
    return problems() if _registry.cache_info().currsize else ()


def add(idea: Idea) -> None:
    """Add an idea in this process alone (runs of a study are processes of their own).

    Raises UserError where the name is taken.
    """
    known = _registry().ideas[idea.group]
    if idea.name in known:
        raise UserError(f"There is a {GROUPS[idea.group]} '{idea.name}' already.")
    known[idea.name] = idea


def kept(name: str, make: Callable[[], T]) -> T:
    """What `make` gives, made once and kept under that name until `refresh`."""
    made = _registry().made
    if name not in made:
        made[name] = make()
    return made[name]


def refresh() -> None:
    """Forget what was found or added, so that the next look-up finds it anew."""
    _registry.cache_clear()


@dataclass(frozen=True)
class _Registry:
    ideas: dict[str, dict[str, Idea]]
    problems: list[str]
    made: dict[str, Any]


@cache
def _registry() -> _Registry:
    found: dict[str, dict[str, Idea]] = {group: {} for group in GROUPS}
    told: list[str] = []
    for idea in [idea for module in _built_in() for idea in _declared(module, OWN)]:
        found[idea.group][idea.name] = idea
    outside: dict[tuple[str, str], list[Idea]] = {}
    for idea in _of_packages(told):
        outside.setdefault((idea.group, idea.name), []).append(idea)
    for (group, name), rivals in outside.items():
        taken = found[group].get(name)
        if taken is None and len(rivals) == 1:
            found[group][name] = rivals[0]
            continue
        names = " and ".join(idea.package for idea in ([taken] if taken else []) + rivals)
        stays = "that of kurabe stays" if taken else "neither is used; uninstall one of them"
        told.append(f"The {GROUPS[group]} '{name}' is named twice, by {names}: {stays}.")
    return _Registry(found, told, {})


def _built_in() -> Iterator[str]:
    """Names of the modules that declare what Kurabe itself has."""
    for room in ROOMS:
        spec = importlib.util.find_spec(f"{OWN}.{room}")
        if spec is None:
            continue
        if spec.submodule_search_locations is None:
            yield spec.name
            continue
        for info in pkgutil.iter_modules(spec.submodule_search_locations, f"{spec.name}."):
            # What stands in a room without IDEAS may need torch: it is looked at, not imported.
            module = info.module_finder.find_spec(info.name, None)
            source = module and module.loader and getattr(module.loader, "get_source", None)
            if source and "\nIDEAS = " in (source(info.name) or ""):
                yield info.name


def _declared(module: str, package: str) -> list[Idea]:
    """The module's IDEAS as those of that package; ValueError where there are none."""
    declared: Iterable[Idea] | None = getattr(importlib.import_module(module), "IDEAS", None)
    if declared is None:
        raise ValueError(f"{module} has no IDEAS")
    own: list[Idea] = []
    for idea in declared:
        if idea.group not in GROUPS:
            raise ValueError(f"{module} names a group '{idea.group}'; {_all(GROUPS)}")
        own.append(replace(idea, package=package))
    return own


def _of_packages(told: list[str]) -> Iterator[Idea]:
    """The ideas of other packages, in the order of their names; what fails is told."""
    points = {(p.dist.name if p.dist else p.value, p.value) for p in _entry_points()}
    for package, module in sorted(points):
        try:
            yield from _declared(module, package)
        # Whatever goes wrong in someone else's module must not stop what does not need it.
        except (Exception, SystemExit) as error:
            said = " ".join(str(error).split()) or "no reason is given"
            told.append(
                f"The package {package} could not be loaded ({type(error).__name__}: {said}); "
                "what it adds is left out."
            )


def _entry_points() -> Iterable[metadata.EntryPoint]:
    return metadata.entry_points(group=OWN)


def _all(known: Iterable[str]) -> str:
    names = list(known)
    return f"there {'is' if len(names) == 1 else 'are'} {', '.join(names) or 'none'}."
