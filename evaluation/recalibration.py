"""A hospital's own map from the federation's probabilities to its own, fitted on its validation rows; it never leaves.

log p'(class) = slope * log p(class) + offset(class), normalised over classes. For two classes that is Platt's logistic map on
the log-odds. `intercept` holds the slope at 1: it moves the level, as another prevalence does. The slope is at least
`LEAST_SLOPE`, so for two classes the order of a hospital's patients, and with it its AUROC, stays as it was.

The fit is the maximum of the likelihood times a normal prior about no change (offsets: sd 2, slope: sd 0.5): with many rows it
is the likelihood's, with few it keeps to the model, and rows that the classes part do not drive it to infinity.

Sources
    Platt, Advances in Large Margin Classifiers 1999, 61-74; Steyerberg et al., Statistics in Medicine 2004;23:2567-2586
    (updating the intercept or the slope, and shrinking what few rows say); Guo et al., ICML 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from evaluation.scoring import checked_rows, log_odds, scored_classes
from protocol.errors import EvaluationError

Floats = NDArray[np.float64]
Method = Literal["intercept", "platt"]
LEAST_SLOPE, LEAST_ROWS, LEAST_POSITIVES = 0.05, 10, 5
_OFFSET_SD, _SLOPE_SD, _LOWEST = 2.0, 0.5, -700.0


@dataclass(frozen=True)
class Recalibration:
    """One hospital's map: `offsets` (classes,), the first 0. The default leaves everything as it is."""

    slope: float = 1.0
    offsets: tuple[float, ...] = ()

    def __call__(self, log_probabilities: Floats) -> Floats:
        """The map on log-probabilities (n, classes); the same shape, normalised."""
        if not self.offsets:
            return log_probabilities
        moved = self.slope * np.maximum(log_probabilities, _LOWEST) + np.array(self.offsets)
        normalised: Floats = moved - np.logaddexp.reduce(moved, axis=1, keepdims=True)
        return normalised


def fit(labels: NDArray[np.integer], log_probabilities: Floats, method: Method) -> Recalibration:
    """The map that `labels` (n,) and `log_probabilities` (n, classes) ask for.

    Nothing changes with fewer than LEAST_ROWS rows or a class without a row: a level cannot be told from that. Raises
    EvaluationError on NaN or unequal shapes.
    """
    labels, logs = checked_rows(labels, log_probabilities)
    if np.isnan(logs).any():
        raise EvaluationError("a log-probability is not a number; the model diverged, so there is nothing to recalibrate.")
    n, classes = logs.shape
    if n < LEAST_ROWS or len(np.unique(labels)) < classes:
        return Recalibration()
    logs, truth = np.maximum(logs, _LOWEST), np.eye(classes)[labels]

    def lost(found: Floats) -> tuple[float, Floats]:
        slope, offsets = found[0], np.concatenate([[0.0], found[1:]])
        moved = slope * logs + offsets
        level = np.logaddexp.reduce(moved, axis=1, keepdims=True)
        rest = np.exp(moved - level) - truth
        value = float((level[:, 0] - moved[np.arange(n), labels]).sum())
        value += float(((slope - 1.0) / _SLOPE_SD) ** 2 / 2.0 + (offsets**2).sum() / _OFFSET_SD**2 / 2.0)
        gradient = np.concatenate([[(rest * logs).sum()], rest.sum(axis=0)[1:]])
        gradient += np.concatenate([[(slope - 1.0) / _SLOPE_SD**2], found[1:] / _OFFSET_SD**2])
        return value, gradient

    slopes = (1.0, 1.0) if method == "intercept" else (LEAST_SLOPE, 20.0)
    start = np.concatenate([[1.0], np.zeros(classes - 1)])
    best = minimize(lost, start, jac=True, method="L-BFGS-B", bounds=[slopes, *[(-50.0, 50.0)] * (classes - 1)])
    return Recalibration(float(best.x[0]), (0.0, *(float(offset) for offset in best.x[1:])))


def own_thresholds(labels: NDArray[np.integer], log_probabilities: Floats, sensitivity: float) -> tuple[float | None, ...]:
    """For each scored class the highest log-odds at which so many positives of these rows are called; call from it upwards.

    None with fewer than LEAST_POSITIVES positives, or without negatives. A threshold is one patient's score: it stays here.
    """
    labels, logs = checked_rows(labels, log_probabilities)
    return tuple(_threshold(log_odds(logs, index), labels == index, sensitivity) for index in scored_classes(logs.shape[1]))


def _threshold(odds: Floats, positive: NDArray[np.bool_], sensitivity: float) -> float | None:
    if int(positive.sum()) < LEAST_POSITIVES or positive.all():
        return None
    ranked = np.sort(odds[positive])[::-1]
    return float(ranked[min(len(ranked), int(np.ceil(sensitivity * len(ranked) - 1e-9))) - 1])
