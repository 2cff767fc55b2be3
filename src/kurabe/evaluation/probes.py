"""What labels tell of features that were learned without them.

k-NN: cosine, k = 20, vote exp(cos / 0.07) (Wu et al. 2018, arXiv:1805.01978, eq. 5-6). Linear
probe: multinomial logistic regression on standardised features, C Σ CE + ½‖W‖² with a free
intercept, by L-BFGS (scikit-learn's objective and C). Few-shot: the same with k labels a class.
Ridge: least squares on one-hot labels, in closed form; it only ranks candidates.
Features are float32 (N, D), labels int64 (N,) in range(classes).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from kurabe.evaluation.vectors import Vectors, blocks, double, unit
from kurabe.randomness import generator

NEIGHBOURS, TEMPERATURE = 20, 0.07
STRENGTHS = tuple(10.0**e for e in range(-5, 3))
FEW_SHOT_STRENGTH = 1.0
# Scaled slopes at which a fit ends: while strengths are tried, and for what is reported.
_ROUGH, _EXACT = 1e-3, 1e-7


def knn_votes(
    train: Vectors,
    labels: np.ndarray,
    queries: Vectors,
    classes: int,
    k: int = NEIGHBOURS,
    temperature: float = TEMPERATURE,
) -> Tensor:
    """Share of the vote for each class, float32 (N, classes); k is at most the training size."""
    gallery, queries = unit(train), unit(queries)
    one_hot = torch.nn.functional.one_hot(torch.as_tensor(labels), classes).float()
    one_hot = one_hot.to(gallery.device)
    votes = torch.empty(len(queries), classes)
    for rows in blocks(len(queries), 1024):
        cosine, found = (queries[rows] @ gallery.T).topk(min(k, len(gallery)), dim=1)
        # softmax is exp(cos/τ) over its own sum, and cannot overflow.
        weights = (cosine / temperature).softmax(1)
        votes[rows] = (weights[:, None, :] @ one_hot[found]).squeeze(1).cpu()
    return votes


def accuracy(scores: Tensor, labels: np.ndarray) -> float:
    """Share of rows whose largest score (N, classes) is at the label."""
    return float((scores.argmax(1).cpu().numpy() == labels).mean())


def right_share(scores: Tensor, labels: np.ndarray) -> float:
    """Mean score (N, classes) of the right class; a label of −1 has none."""
    known = torch.from_numpy(np.flatnonzero(labels >= 0))
    own = scores.cpu()[known, torch.from_numpy(labels)[known]]
    return float(own.double().sum() / len(labels))


def squared_error(scores: Tensor, labels: np.ndarray) -> float:
    """Mean squared distance of the scores (N, classes) from one-hot labels."""
    scores = scores.double().cpu()
    return float((scores**2).sum(1).mean() - 2 * right_share(scores, labels)) + 1


@dataclass(frozen=True)
class Standard:
    """Zero mean and unit variance by training statistics; a constant feature stays zero."""

    mean: Tensor
    scale: Tensor

    @classmethod
    def of(cls, train: Vectors) -> "Standard":
        """Fit on (N, D)."""
        train = double(train)
        scale = train.std(0, correction=0)
        return cls(train.mean(0), torch.where(scale > 0, scale, 1.0))

    def __call__(self, x: Vectors) -> Tensor:
        """Standardise rows, float64."""
        return (double(x) - self.mean) / self.scale


@dataclass(frozen=True)
class Linear:
    """Scores x W + b of rows x, float64."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """(N, D) → (N, classes)."""
        return x @ self.weight + self.bias


def logistic(
    x: Tensor, labels: np.ndarray, classes: int, strength: float, tolerance: float = _EXACT
) -> Linear:
    """The minimum of strength · Σ CE + ½‖W‖² over W and b; x float64 (N, D)."""
    basis = principal_axes(x)
    found = _fit(x @ basis, labels, classes, strength, None, tolerance)
    return Linear(basis @ found.weight, found.bias)


def principal_axes(x: Tensor) -> Tensor:
    """Orthonormal axes (D, R) of rows (N, D), R their rank, by eigenvectors of the smaller Gram."""
    tall = len(x) >= x.shape[1]
    values, vectors = torch.linalg.eigh(x.T @ x if tall else x @ x.T)
    kept = values > values[-1] * len(values) * torch.finfo(x.dtype).eps
    vectors = vectors[:, kept]
    return vectors if tall else x.T @ (vectors / values[kept].sqrt())


def _fit(
    x: Tensor,
    labels: np.ndarray,
    classes: int,
    strength: float,
    start: Linear | None,
    tolerance: float,
) -> Linear:
    """`logistic` on rows whose columns are uncorrelated, from `start`.

    The penalty does not know axes, and the rows span the minimum; so along principal axes the
    problem is the same one, and its Hessian nearly diagonal: the mean square of a column times the
    variance of a guess between the classes, plus the penalty. Weights are scaled by its root, and
    L-BFGS needs dozens of steps instead of thousands. `tolerance` bounds the largest slope in those
    scaled weights of the objective divided by strength · N. Two classes have one column of
    weights, as in scikit-learn.
    """
    n, d = x.shape
    columns = 1 if classes == 2 else classes
    target = torch.nn.functional.one_hot(torch.as_tensor(labels), classes).to(x)
    penalty = 1 / (strength * n)
    curvature = (1 - 1 / classes) / classes
    squares = torch.cat([curvature * (x**2).mean(0) + penalty, x.new_tensor([curvature])])
    scale = squares.sqrt()[:, None]

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        parameters = torch.from_numpy(flat).to(x).view(d + 1, columns) / scale
        weight = parameters[:d]
        log_p = _scores(x @ weight + parameters[d]).log_softmax(1)
        residual = ((log_p.exp() - target) / n)[:, -columns:]
        value = -(target * log_p).sum() / n + penalty / 2 * (weight**2).sum()
        slope = torch.cat([x.T @ residual + penalty * weight, residual.sum(0, keepdim=True)])
        return float(value), (slope / scale).flatten().cpu().numpy()

    first = np.zeros((d + 1) * columns)
    if start is not None:
        stacked = torch.cat([start.weight, start.bias[None]])[:, -columns:] * scale
        first = stacked.flatten().cpu().numpy()
    options = {"maxiter": 2000, "maxfun": 3000, "gtol": tolerance, "ftol": 0, "maxcor": 20}
    found = minimize(objective, first, jac=True, method="L-BFGS-B", options=options)
    full = _scores(torch.from_numpy(found.x).to(x).view(d + 1, columns) / scale)
    return Linear(full[:d], full[d])


def _scores(columns: Tensor) -> Tensor:
    """One column of two classes' differences → two, the first of zeros."""
    if columns.shape[1] > 1:
        return columns
    return torch.cat([torch.zeros_like(columns), columns], dim=1)


@dataclass(frozen=True)
class Probe:
    """A fitted probe, the strength chosen, and its accuracy on validation."""

    standard: Standard
    linear: Linear
    strength: float
    validation: float

    def __call__(self, x: Vectors) -> Tensor:
        """Scores of raw features (N, D) → (N, classes)."""
        return self.linear(self.standard(x))


def linear_probe(
    train: Vectors,
    labels: np.ndarray,
    validation: Vectors,
    validation_labels: np.ndarray,
    classes: int,
    strengths: Sequence[float] = STRENGTHS,
) -> Probe:
    """Fit on train with each strength, from small weights to large; keep the best on validation.

    Each fit starts at the last one's solution. Once the classifier does better than naming the
    commonest class, as it must with small enough weights, two strengths that were worse than the
    best end the search: the rest is the slow end.
    """
    standard = Standard.of(train)
    x, held = standard(train), standard(validation)
    axes = principal_axes(x)
    x, held = x @ axes, held @ axes
    best: Probe | None = None
    linear: Linear | None = None
    worse = 0
    commonest = float((validation_labels == np.bincount(labels).argmax()).mean())
    for strength in strengths:
        linear = _fit(x, labels, classes, strength, linear, _ROUGH)
        score = accuracy(linear(held), validation_labels)
        if best is None or score > best.validation:
            best, worse = Probe(standard, linear, strength, score), 0
        elif score < best.validation and best.validation > commonest:
            worse += 1
            if worse == 2:
                break
    assert best is not None
    exact = _fit(x, labels, classes, best.strength, best.linear, _EXACT)
    return replace(best, linear=Linear(axes @ exact.weight, exact.bias))


def ridge_scores(
    train: Vectors,
    labels: np.ndarray,
    queries: Vectors,
    classes: int,
    shares: Sequence[float] = (0.01, 0.1, 1.0),
) -> list[Tensor]:
    """Scores (N, classes) of ridge regression on one-hot labels, for penalties share · N.

    Standardised features; solved in the smaller of the two spaces.
    """
    standard = Standard.of(train)
    # The ranking of candidates needs no double precision, and is the bulk of the search.
    x, q = standard(train).float(), standard(queries).float()
    n, d = x.shape
    target = torch.nn.functional.one_hot(torch.as_tensor(labels), classes).to(x)
    mean = target.mean(0)
    target = target - mean
    dual = n < d
    gram, side = (x @ x.T, q @ x.T) if dual else (x.T @ x, q)
    right = target if dual else x.T @ target
    out = []
    for share in shares:
        regular = gram.clone()
        regular.diagonal().add_(share * n)
        out.append(side @ torch.cholesky_solve(right, torch.linalg.cholesky(regular)) + mean)
    return out


def label_draw(labels: np.ndarray, per_class: int, seed: int, draw: int) -> np.ndarray | None:
    """Rows of `per_class` images of each class that has so many; None with fewer than two such."""
    rng = generator(seed, "label draw", draw, per_class)
    order = rng.permutation(len(labels))
    rows = [order[labels[order] == label][:per_class] for label in np.unique(labels)]
    rows = [r for r in rows if len(r) == per_class]
    return np.sort(np.concatenate(rows)) if len(rows) > 1 else None


def left_out_error(
    x: Tensor, labels: np.ndarray, classes: int, shares: Sequence[float] = (0.01, 0.1, 1.0)
) -> float:
    """Squared distance from one-hot labels of ridge predictions for rows (N, D) left out in turn.

    A mean over rows, the least over penalties share · N. Each left-out residual is the plain one
    over 1 − h, h the row's part in its own prediction (PRESS; Allen 1974, "The relationship between
    variable selection and data augmentation and a method for prediction"); no fit is repeated.
    """
    n = len(x)
    target = torch.nn.functional.one_hot(torch.as_tensor(labels), classes).to(x)
    centred = x - x.mean(0)
    values, vectors = torch.linalg.eigh(centred @ centred.T)
    values = values.clamp_min(0)
    errors: list[float] = []
    for share in shares:
        hat = (vectors * (values / (values + share * n))) @ vectors.T + 1 / n
        residual = (target - hat @ target) / (1 - hat.diagonal())[:, None]
        errors.append(float((residual**2).sum(1).mean()))
    return min(errors)


def few_shot(
    train: Vectors, labels: np.ndarray, rows: np.ndarray, test: Vectors, test_labels: np.ndarray
) -> float | None:
    """Accuracy on test from the labels of these rows of train alone; None where none applies.

    Features are standardised on all of train, which needs no label. Test images of classes that
    have no label among the rows are left out. Strength C = 1, not tuned: there is nothing to tune
    it on.
    """
    standard = Standard.of(train)
    x, held = standard(train), standard(test)
    classes, own = np.unique(labels[rows], return_inverse=True)
    known = np.flatnonzero(np.isin(test_labels, classes))
    if not len(known):
        return None
    linear = logistic(x[rows], own, len(classes), FEW_SHOT_STRENGTH, tolerance=_ROUGH)
    wanted = np.searchsorted(classes, test_labels[known])
    return accuracy(linear(held[torch.from_numpy(known)]), wanted)
