"""Every setting of a study's file, with values that it cannot have: one sentence that names it."""

import math
from typing import Any

import pytest
from pydantic import BaseModel

from kurabe.errors import UserError
from kurabe.recipe import Budget, DataSettings, Evaluation, Network, Optimiser
from kurabe.studies.study import Study
from kurabe.study_settings import StudySettings, Trials

PARTS: dict[str, type[BaseModel]] = {
    "": StudySettings,
    "data": DataSettings,
    "optimiser": Optimiser,
    "evaluation": Evaluation,
    "trials": Trials,
    "budget": Budget,
    "network": Network,
}
FIELDS = [(part, name) for part, model in PARTS.items() for name in model.model_fields]
ODD: list[Any] = [
    "x", "", -1, 0, 1.5, -0.5, 10**30, math.inf, math.nan, True, [], ["x"], [-1], [[1]], {},
    {"x": 1}, None,
]  # fmt: skip
# What only a programmer says.
FOREIGN = ("Input should", "Value error", "pydantic", "NoneType", "Traceback", "validation error",
           "type=", "Tuple should", "List should", "String should", "should be")  # fmt: skip


def settings() -> dict[str, Any]:
    return {
        "name": "s",
        "baseline": "ddpm",
        "budget": {"seconds": 60},
        "data": {"source": "digits", "size": 8, "channels": 1},
        "columns": [{"id": "ddpm", "method": "ddpm"}],
    }


@pytest.mark.parametrize(("part", "name"), FIELDS, ids=lambda x: str(x) or "study")
def test_a_value_that_a_setting_cannot_have_is_refused_in_one_sentence(part, name):
    refused = 0
    for odd in ODD:
        given = settings()
        place = given.setdefault(part, {}) if part else given
        place[name] = odd
        try:
            Study.checked(given, "study.toml")
        except UserError as error:
            said = str(error)
        else:
            continue
        refused += 1
        assert said.startswith("study.toml: ") and said.endswith((".", "?")), said
        assert "\n" not in said and len(said) < 400, said
        assert not any(word in said for word in FOREIGN), said
        # The field, or what it is for: some checks speak of several together.
        assert name in said or any(word in said for word in name.split("_")), (name, odd, said)
    assert refused, f"{part}.{name} takes anything"
