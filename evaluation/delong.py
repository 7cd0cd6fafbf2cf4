"""AUROC from rows with DeLong's variance, and how the AUROCs of two models on the same rows move together.

Source: DeLong, DeLong & Clarke-Pearson, Biometrics 1988;44:837-845; by midranks as Sun & Xu, IEEE Signal Processing Letters
2014;21:1389-1393.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from protocol.errors import EvaluationError

Labels = NDArray[np.integer | np.bool_]
_Placements = tuple[NDArray[np.float64], NDArray[np.float64]]


def delong(labels: Labels, scores: NDArray[np.floating]) -> tuple[float, float] | None:
    """AUROC of `scores` (n,) for 0/1 `labels` (n,) and its DeLong variance; None if a class is absent. O(n log n).

    Ties count one half. With a single case of a class the spread of that class cannot be measured; its largest possible
    value, AUROC * (1 - AUROC), takes its place. Raises EvaluationError on other labels, NaN or unequal lengths.
    """
    placed = _placements(labels, scores)
    if placed is None:
        return None
    auroc = float(placed[0].mean())
    return auroc, _covariance(placed, placed, single=auroc * (1.0 - auroc))


def paired_delong(
    labels: Labels, first: NDArray[np.floating], second: NDArray[np.floating]
) -> tuple[float, float, NDArray[np.float64]] | None:
    """(AUROC of `first`, AUROC of `second`, their covariance (2, 2)) on the same rows; None if a class is absent.

    `labels`, `first` and `second` are (n,) each. The diagonal holds what `delong` gives. Two models that rank alike have
    four equal entries, so the variance of their difference is exactly 0. A class with a single case adds nothing off the
    diagonal, where it could not be measured. Raises EvaluationError as `delong` does.
    """
    one, two = _placements(labels, first), _placements(labels, second)
    if one is None or two is None:
        return None
    a, b = float(one[0].mean()), float(two[0].mean())
    between = _covariance(one, two, single=0.0)
    own = _covariance(one, one, single=a * (1.0 - a)), _covariance(two, two, single=b * (1.0 - b))
    return a, b, np.array([[own[0], between], [between, own[1]]])


def _placements(labels: Labels, scores: NDArray[np.floating]) -> _Placements | None:
    """For each positive the share of negatives below it, for each negative the share of positives above it."""
    labels, ranked = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if labels.ndim != 1 or labels.shape != ranked.shape:
        raise EvaluationError(f"labels {labels.shape} and scores {ranked.shape} must be two vectors of one length.")
    if not np.isin(labels, (0, 1)).all():
        raise EvaluationError("labels must be 0 or 1; score one class against the rest.")
    if np.isnan(ranked).any():
        raise EvaluationError("a score is not a number; the model diverged, so there is nothing to rank.")
    positive = labels.astype(bool)
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if n_positive == 0 or n_negative == 0:
        return None
    ranks = _midranks(ranked)
    below = (ranks[positive] - _midranks(ranked[positive])) / n_negative
    above = 1.0 - (ranks[~positive] - _midranks(ranked[~positive])) / n_positive
    return below, above


def _midranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1, ties sharing their mean rank."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2.0)[group]
    return ranks


def _covariance(first: _Placements, second: _Placements, *, single: float) -> float:
    """Covariance of two AUROCs: of their means over the positives plus of those over the negatives.

    `single` takes the place of either where a class has one case.
    """
    return sum(_covariance_of_means(x, y, single) for x, y in zip(first, second, strict=True))


def _covariance_of_means(x: NDArray[np.float64], y: NDArray[np.float64], single: float) -> float:
    n = len(x)
    return float(((x - x.mean()) * (y - y.mean())).sum()) / (n - 1) / n if n > 1 else single
