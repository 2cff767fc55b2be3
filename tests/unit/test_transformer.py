"""The scikit-learn transformer: its estimator checks that apply, and the rows that `embed` has."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import SkipTestWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

import kurabe
from kurabe.errors import UserError
from kurabe.runs.transformer import DiffusionFeatures

RUN = "fashion-28"


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 28, 28), dtype=np.uint8)


def made(**more: object) -> DiffusionFeatures:
    return DiffusionFeatures(RUN, device="cpu", draws=1, **more)


# What scikit-learn checks without feeding tables of numbers, which are no images.
CHECKS = (
    "check_estimator_cloneable",
    "check_estimator_tags_renamed",
    "check_valid_tag_types",
    "check_estimator_repr",
    "check_no_attributes_set_in_init",
    "check_mixin_order",
    "check_parameters_default_constructible",
    "check_get_params_invariance",
    "check_set_params",
)


@pytest.mark.parametrize("name", CHECKS)
def test_the_estimator_checks_that_apply_pass(name: str) -> None:
    getattr(estimator_checks, name)("DiffusionFeatures", made())


def test_scikit_learn_itself_fails_nothing() -> None:
    """It leaves out what needs tables, by the tag that says so."""
    with pytest.warns(SkipTestWarning, match="requires input"):
        results = estimator_checks.check_estimator(made(), on_fail=None, on_skip=None)
    assert not [r for r in results if r["status"] not in ("passed", "skipped")]


def test_its_rows_are_those_of_embed_in_a_pipeline_too(pixels) -> None:
    own = made().fit(pixels)
    expected = kurabe.load(RUN, "cpu").embed(pixels, draws=1)
    np.testing.assert_array_equal(own.transform(pixels), expected)
    assert own.get_feature_names_out().shape == (expected.shape[1],)
    labels = np.array([0, 1, 0, 1, 0, 1])
    piped = make_pipeline(made(), LogisticRegression()).fit(pixels, labels)
    by_hand = LogisticRegression().fit(expected, labels)
    np.testing.assert_allclose(piped.predict_proba(pixels), by_hand.predict_proba(expected))
    grid = GridSearchCV(piped, {"diffusionfeatures__grid": [1, 2]}, cv=2).fit(pixels, labels)
    assert grid.best_params_["diffusionfeatures__grid"] in (1, 2)


def test_it_is_cloned_unfitted_and_other_places_are_taken(pixels) -> None:
    own = made(layer="block-2", grid=1, log_snr=3.0).fit(pixels)
    with pytest.raises(Exception, match="not fitted yet"):
        clone(own).transform(pixels)
    assert own.transform(pixels).shape == (6, own.loaded_.model.network.width)
    with pytest.raises(UserError, match="--layer block-99: there is block-1"):
        made(layer="block-99").fit(pixels)


def test_what_is_no_image_is_refused_in_a_sentence() -> None:
    with pytest.raises(UserError, match="as floats have values from 0 to 1"):
        made().fit(np.random.default_rng(0).normal(size=(4, 28, 28)))
