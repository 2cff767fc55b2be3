"""Classifiers on features, against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from kurabe.evaluation import probes


def data(n, d, classes, seed=0):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, d))
    labels = np.arange(n) % classes
    return (centres[labels] + 2 * rng.normal(size=(n, d))).astype(np.float32), labels


@pytest.mark.parametrize("n", [12, 300])
def test_knn_votes_are_scikit_learns(n):
    x, y = data(n, 30, 4)
    q, _ = data(90, 30, 4, seed=1)
    theirs = KNeighborsClassifier(
        min(20, n), metric="cosine", weights=lambda d: np.exp((1 - d) / 0.07)
    ).fit(x, y)
    ours = probes.knn_votes(x, y, q, 4).numpy()
    np.testing.assert_allclose(ours, theirs.predict_proba(q), atol=1e-5)


@pytest.mark.parametrize("n, d, classes", [(80, 10, 2), (200, 20, 5), (40, 120, 3)])
@pytest.mark.parametrize("strength", [0.01, 1.0])
def test_logistic_regression_is_scikit_learns(n, d, classes, strength):
    x, y = data(n, d, classes)
    theirs = LogisticRegression(C=strength, tol=1e-10, max_iter=20000).fit(x.astype(np.float64), y)
    ours = probes.logistic(torch.from_numpy(x).double(), y, classes, strength)
    probabilities = ours(torch.from_numpy(x).double()).softmax(1).numpy()
    np.testing.assert_allclose(probabilities, theirs.predict_proba(x), atol=1e-5)


@pytest.mark.parametrize("n, d, rank", [(40, 12, 12), (12, 40, 12), (40, 12, 5)])
def test_principal_axes_span_the_rows_and_make_columns_uncorrelated(n, d, rank):
    rng = np.random.default_rng(2)
    x = torch.from_numpy(rng.normal(size=(n, rank)) @ rng.normal(size=(rank, d)))
    axes = probes.principal_axes(x)
    assert axes.shape == (d, rank)
    torch.testing.assert_close(axes.T @ axes, torch.eye(rank, dtype=x.dtype))
    torch.testing.assert_close(x @ axes @ axes.T, x)
    gram = (x @ axes).T @ (x @ axes)
    assert (gram - gram.diag().diag()).abs().max() < 1e-10 * gram.diag().max()


def test_linear_probe_chooses_on_validation_and_scores_as_scikit_learn():
    x, y = data(150, 60, 4)
    held, held_y = data(100, 60, 4, seed=7)
    test, _ = data(100, 60, 4, seed=8)
    probe = probes.linear_probe(x, y, held, held_y, 4)
    x, held, test = (part.astype(np.float64) for part in (x, held, test))
    scale = StandardScaler().fit(x)
    scores = {}
    for c in probes.STRENGTHS:
        fit = LogisticRegression(C=c, tol=1e-10, max_iter=20000).fit(scale.transform(x), y)
        scores[c] = fit.score(scale.transform(held), held_y)
        if c == probe.strength:
            theirs = fit.predict_proba(scale.transform(test))
    assert probe.validation == pytest.approx(max(scores.values()), abs=1e-5)
    np.testing.assert_allclose(probe(test).softmax(1).numpy(), theirs, atol=1e-5)


def test_linear_probe_is_not_content_with_the_commonest_class():
    """At the smallest strengths every fit names the commonest of unequal classes, and they tie."""
    rng = np.random.default_rng(5)
    labels = (np.arange(210) % 5 == 0).astype(np.int64)
    x = rng.normal(size=(210, 192)).astype(np.float32)
    x[:, 0] += 6 * labels
    train, held = slice(0, 150), slice(150, 210)
    scores = {}
    scale = StandardScaler().fit(x[train].astype(np.float64))
    for c in probes.STRENGTHS:
        fit = LogisticRegression(C=c, tol=1e-10, max_iter=20000)
        fit.fit(scale.transform(x[train]), labels[train])
        scores[c] = fit.score(scale.transform(x[held]), labels[held])
    ties = [scores[c] for c in probes.STRENGTHS[:3]]
    assert ties == pytest.approx([0.8] * 3) and max(scores.values()) > 0.85
    probe = probes.linear_probe(x[train], labels[train], x[held], labels[held], 2)
    # Which strength is best is decided on rough fits; the one kept is fitted exactly.
    kept = probes.accuracy(probe(x[held]), labels[held])
    assert kept == pytest.approx(scores[probe.strength]) and kept > 0.85


@pytest.mark.parametrize("n, d", [(60, 20), (30, 80)])
def test_ridge_is_scikit_learns(n, d):
    x, y = data(n, d, 3)
    q, _ = data(20, d, 3, seed=1)
    scale = StandardScaler().fit(x.astype(np.float64))
    ours = probes.ridge_scores(x, y, q, 3, shares=(0.1,))[0]
    theirs = Ridge(alpha=0.1 * n).fit(scale.transform(x), np.eye(3)[y]).predict(scale.transform(q))
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-5)


def test_few_shot_is_scikit_learn_on_the_drawn_labels():
    x, y = data(60, 10, 3)
    test, test_y = data(90, 10, 3, seed=1)
    rows = probes.label_draw(y, 5, seed=3, draw=0)
    assert np.bincount(y[rows]).tolist() == [5, 5, 5]
    scale = StandardScaler().fit(x.astype(np.float64))
    fit = LogisticRegression(C=1.0, tol=1e-10, max_iter=20000).fit(
        scale.transform(x[rows]), y[rows]
    )
    score = probes.few_shot(x, y, rows, test, test_y)
    assert score == pytest.approx(fit.score(scale.transform(test), test_y), abs=1e-12)
    # Test images of a class without a label are left out.
    two = rows[y[rows] < 2]
    assert probes.few_shot(x, y, two, test[test_y == 2], test_y[test_y == 2]) is None


@pytest.mark.parametrize(("n", "d"), [(12, 40), (30, 5)])
def test_the_error_of_rows_left_out_is_that_of_a_fit_without_each(n, d):
    """scikit-learn's ridge, fitted n times; the penalty stays that of all rows."""
    x, y = data(n, d, 3)
    target = np.eye(3)[y]
    expected = []
    for share in (0.01, 0.1, 1.0):
        errors = []
        for row in range(n):
            rest = np.arange(n) != row
            fit = Ridge(alpha=share * n).fit(x[rest].astype(np.float64), target[rest])
            errors.append(((fit.predict(x[[row]].astype(np.float64)) - target[row]) ** 2).sum())
        expected.append(np.mean(errors))
    found = probes.left_out_error(torch.from_numpy(x.astype(np.float64)), y, 3)
    assert found == pytest.approx(min(expected), rel=1e-8)


def test_a_draw_needs_two_classes_with_enough_labels():
    _, y = data(13, 4, 3)
    assert probes.label_draw(y, 5, seed=0, draw=0) is None
    assert len(probes.label_draw(y, 4, seed=0, draw=0)) == 12


def test_label_draws_are_the_blocks():
    _, y = data(60, 4, 3)
    draws = [probes.label_draw(y, 1, seed, 0).tolist() for seed in (0, 0, 1, 2)]
    assert draws[0] == draws[1]
    assert len({tuple(d) for d in draws}) == 3
