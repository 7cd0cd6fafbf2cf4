"""Calibration of one group and class from its counts: intercept, slope, observed over expected.

Every case of a bin stands at the log-odds of the bin's mean probability, so that a calibrated model stays calibrated however
wide the bins are. Within a bin scores are taken to lie evenly; in the two open bins as in the tail of a normal distribution
that the counts next to it fit, of positives and of negatives each where there are enough. The score equations of the logistic
model are solved on these by Newton's method, and their variance is the sandwich's (Huber 1967): noise on the counts has its
place beside chance, as both move the equations.

Sources
    intercept with the slope held at 1, slope, observed over expected: Van Calster et al., BMC Medicine 2019;17:230; Cox,
    Biometrika 1958;45:562-565.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtri

from evaluation.audit.edges import Edges
from evaluation.audit.figures import Calibration, Point

Floats = NDArray[np.float64]
_STEPS, _CONVERGED, _FARTHEST = 60, 1e-10, 1e3
_ENOUGH = 10.0  # cases beyond the last edge that a tail is fitted to
_CLEAR = 4.0  # standard deviations of the noise that they must stand above it
_QUANTILES = (np.arange(64) + 0.5) / 64.0  # at which a tail is averaged
_UNKNOWN_TAIL = 0.5  # log-odds beyond the last edge where nothing can be fitted
_FARTHEST_LOG_ODDS = 30.0


def positions(edges: Edges, positive: Floats, negative: Floats, variance: float) -> Floats:
    """The log-odds (bins,) that stand for each bin, from everybody's counts (bins,), each with noise of `variance`."""
    middles = (edges[1:] + edges[:-1]) / 2.0
    lower = _open(edges, positive, negative, variance)
    upper = -_open(-edges[::-1], positive[::-1], negative[::-1], variance)
    return np.concatenate([[lower], middles, [upper]])


def _open(edges: Edges, positive: Floats, negative: Floats, variance: float) -> float:
    """Log-odds of the mean probability of the cases below the first edge."""
    both = _tail(edges, positive + negative, 2.0 * variance)
    chances, weights = [], []
    for one in (positive, negative):
        own = _tail(edges, one, variance)
        tail = both if own is None else own
        if tail is None:
            tail = np.array([edges[0] - _UNKNOWN_TAIL])
        chances.append(float(expit(np.clip(tail, -_FARTHEST_LOG_ODDS, _FARTHEST_LOG_ODDS)).mean()))
        weights.append(max(float(one[0]), 0.0))
    chance = float(np.average(chances, weights=weights if sum(weights) > 0.0 else None))
    return min(float(logit(chance)), float(edges[0]))


def _tail(edges: Edges, counts: Floats, variance: float) -> Floats | None:
    """Quantiles of the scores below the first edge, if they are those of a normal distribution; None if too few are there.

    It is fitted to the share below that edge and to the share below the edge under which at least twice as many lie.
    """
    total, beyond = float(counts.sum()), float(counts[0])
    if beyond < max(_ENOUGH, _CLEAR * np.sqrt(variance)) or total <= beyond:
        return None
    within = np.cumsum(counts)[:-1] / total  # share below each edge
    enough = np.flatnonzero((within >= min(2.0 * within[0], (1.0 + within[0]) / 2.0)) & (within < 1.0) & (edges > edges[0]))
    if not enough.size:
        return None
    first, second = ndtri(within[0]), ndtri(within[int(enough[0])])
    scale = (edges[int(enough[0])] - edges[0]) / (second - first)
    quantiles: Floats = edges[0] + scale * (ndtri(_QUANTILES * within[0]) - first)
    return quantiles


def calibration(positive: Floats, negative: Floats, at: Floats, design: tuple[float, float], variance: float) -> Calibration:
    """Of counts (bins,) at log-odds `at` (bins,), each with noise of `variance`; what cannot be solved is None."""
    p, n = np.asarray(positive, dtype=np.float64), np.asarray(negative, dtype=np.float64)
    ones = np.ones((len(at), 1))
    intercept = _solve(p, n, ones, at, design, variance)
    both = _solve(p, n, np.column_stack([ones, at]), np.zeros(len(at)), design, variance)
    return Calibration(
        intercept=None if intercept is None else (float(intercept[0][0]), float(intercept[1][0, 0])),
        slope=None if both is None else (float(both[0][1]), float(both[1][1, 1])),
        observed_expected=_observed_expected(p, n, at, design, variance),
    )


def _solve(
    p: Floats, n: Floats, columns: Floats, offset: Floats, design: tuple[float, float], variance: float
) -> tuple[Floats, Floats] | None:
    """Coefficients (k,) and their covariance (k, k); None where the classes are apart, or noise leaves no solution."""
    found = np.zeros(columns.shape[1])
    totals = p + n
    for _ in range(_STEPS):
        chance = expit(columns @ found + offset)
        bread = (columns * (totals * chance * (1.0 - chance))[:, None]).T @ columns
        if not _definite(bread):
            return None
        step = np.linalg.solve(bread, columns.T @ (p - totals * chance))
        step *= min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-300))  # far steps overshoot
        found = found + step
        if np.abs(found).max() > _FARTHEST:
            return None
        if np.abs(step).max() < _CONVERGED:
            break
    else:
        return None
    of_positive, of_negative = (1.0 - chance) ** 2, chance**2
    weights = design[0] * p * of_positive + design[1] * n * of_negative + variance * (of_positive + of_negative)
    inverse = np.linalg.inv(bread)
    covariance = inverse @ ((columns * weights[:, None]).T @ columns) @ inverse
    return (found, covariance) if (np.diag(covariance) > 0.0).all() else None


def _definite(matrix: Floats) -> bool:
    """Whether Newton's method may go on: positive definite, and not so nearly singular that the step is noise."""
    if not np.isfinite(matrix).all():
        return False
    values = np.linalg.eigvalsh(matrix)
    return bool(values[0] > 1e-9 * max(float(values[-1]), 1e-9))


def _observed_expected(p: Floats, n: Floats, at: Floats, design: tuple[float, float], variance: float) -> Point | None:
    """Observed over expected cases; both vary by chance, and together."""
    chance, observed = expit(at), float(p.sum())
    expected = float(((p + n) * chance).sum())
    if min(observed, expected) <= 0.0:
        return None
    value = observed / expected
    of_positive, of_negative = (1.0 - value * chance) ** 2, (value * chance) ** 2
    sampling = (design[0] * p * of_positive + design[1] * n * of_negative).sum()
    return value, float(max(sampling, 0.0) + variance * (of_positive + of_negative).sum()) / expected**2
