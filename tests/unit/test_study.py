"""A study's file, its recipes and its budgets: what every column shares and what it does not."""

import pytest

from kurabe.errors import UserError
from kurabe.studies.state import LearningRate, StudyState
from kurabe.studies.study import TRIAL_SEEDS, Study, parse_budget

SETTINGS = {
    "name": "scans",
    "data": {"source": "scans", "size": 32, "channels": 3},
    "columns": [
        {"id": "ddpm", "method": "ddpm"},
        {"id": "ddpm-x4", "method": "ddpm", "budget_factor": 4},
        {
            "id": "masked",
            "method": "masked-diffusion",
            "overrides": {"optimiser": {"lr": 0.5}, "evaluation": {"evaluations": 7}},
        },
    ],
    "baseline": "ddpm",
    "budget": {"seconds": 60},
}
RATES = StudyState(rates={"ddpm": 100.0, "ddpm-x4": 100.0, "masked": 150.0})


def study(**changes):
    return Study.checked({**SETTINGS, **changes}, "study.toml")


def test_file_gives_an_equal_study_back(tmp_path):
    path = tmp_path / "study.toml"
    study(trials={"count": 3}, workers=2).save(path)
    assert Study.from_toml(path) == study(trials={"count": 3}, workers=2)


def test_a_block_gives_all_columns_one_seed_and_blocks_different_ones():
    one = study(first_seed=40)
    seeds = {block: {one.recipe(c, block, RATES).seed for c in one.columns} for block in (1, 2, 3)}
    assert seeds == {1: {40}, 2: {41}, 3: {42}}


def test_seconds_become_images_by_each_columns_own_speed():
    one = study()
    images = {c.id: one.recipe(c, 1, RATES).budget.images for c in one.columns}
    assert images == {"ddpm": 6000, "ddpm-x4": 24000, "masked": 9000}


def test_equal_images_take_the_baselines_speed_for_all():
    one = study(equal="images")
    images = {c.id: one.recipe(c, 1, RATES).budget.images for c in one.columns}
    assert images == {"ddpm": 6000, "ddpm-x4": 24000, "masked": 6000}


def test_overrides_reach_only_their_column_and_win():
    one = study()
    state = RATES.model_copy(deep=True)
    for column in ("ddpm", "masked"):
        state.learning_rates[column] = LearningRate(
            lr=0.002, losses={"0.002": 1.0}, on_edge=False, seconds=1, images=1
        )
    masked, plain = (one.recipe(one.column(c), 1, state) for c in ("masked", "ddpm"))
    assert (masked.optimiser.lr, masked.evaluation.evaluations) == (0.5, 7)
    assert (plain.optimiser.lr, plain.evaluation.evaluations) == (0.002, 20)


@pytest.mark.parametrize("key", ["data", "seed", "budget", "method"])
def test_no_column_has_images_seeds_or_a_budget_of_its_own(key):
    """Fault: a column could be trained on other images than the one beside it, without a word."""
    value = {"seed": 5, "method": "lora"}.get(key, {"limit": 20})
    columns = [*SETTINGS["columns"][:2], {**SETTINGS["columns"][2], "overrides": {key: value}}]
    with pytest.raises(UserError, match=f"'masked' overrides {key}, which all columns share"):
        study(columns=columns)
    # One alone, as of `kurabe fit --set data.limit=20`, shares with none.
    alone = study(columns=columns[2:], baseline="masked")
    assert alone.columns[0].overrides == {key: value}


def test_trials_use_other_seeds_and_a_share_of_the_budget():
    one = study(trials={"count": 3, "spacing": 2, "share": 0.1})
    column = one.column("ddpm")
    trial = one.trial(column, 0.004, RATES)
    assert (trial.optimiser.lr, trial.budget.images) == (0.004, 600)
    assert trial.seed >= TRIAL_SEEDS > max(one.recipe(column, b, RATES).seed for b in range(1, 99))
    assert one.trials.grid(0.001) == (0.0005, 0.001, 0.002)


@pytest.mark.parametrize(
    ("text", "seconds", "images"),
    [("90s", 90, None), ("5min", 300, None), ("1.5h", 5400, None), ("200kimg", None, 200_000),
     ("5000img", None, 5000), ("2 Mimg", None, 2_000_000)],
)  # fmt: skip
def test_budgets_as_people_write_them(text, seconds, images):
    budget = parse_budget(text)
    assert (budget.seconds, budget.images) == (seconds, images)


@pytest.mark.parametrize("text", ["0s", "0img", "0.0min", "five", "5", "-3min", "5 parsecs"])
def test_a_budget_that_is_none_is_refused_with_an_example(text):
    with pytest.raises(UserError, match=r"--budget .*5min.*200kimg"):
        parse_budget(text)


def _with(column, method):
    return {"columns": [*SETTINGS["columns"], {"id": column, "method": method}]}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"baseline": "lora"}, "the baseline 'lora' is none of the columns"),
        ({"blocks": 0}, "blocks = 0"),
        ({"blocks": "many"}, "blocks = 'many'"),
        ({"colour": "red"}, "there is no setting 'colour'"),
        ({"budget": {"seconds": 0}}, "budget.seconds = 0"),
        (_with("x", "lorra"), "Did you mean lora"),
        (_with("ddpm", "ddpm"), "'ddpm' is there twice"),
        (_with("l", "lora"), "starts from a base"),
        ({"budget": {"images": 5}, "equal": "seconds"}, 'equal = "images"'),
        ({"evaluation": {"samples": 0}}, "evaluation.samples = 0"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_named_in_one_sentence(changes, says):
    with pytest.raises(UserError) as caught:
        study(**changes)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
