"""Calibration of one group and class from its counts: intercept, slope, observed over expected.

Every case of a bin stands at one log-odds: the middle of its bin, or, in the two open bins, the mean of an exponential tail
that the counts beside it fit. The score equations of the logistic model are solved on these by Newton's method, and their
variance is the sandwich's (Huber 1967): noise on the counts has its place beside chance, as both move the equations.

Sources
    intercept with the slope held at 1, slope, observed over expected: Van Calster et al., BMC Medicine 2019;17:230; Cox,
    Biometrika 1958;45:562-565.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from evaluation.audit.edges import Edges
from evaluation.audit.figures import Calibration, Point

Floats = NDArray[np.float64]
_STEPS, _CONVERGED, _FARTHEST = 60, 1e-10, 1e3
_LEAST_TAIL, _LONGEST_TAIL, _UNKNOWN_TAIL = 0.01, 10.0, 0.5  # log-odds beyond the last edge


def positions(edges: Edges, totals: Floats) -> Floats:
    """The log-odds (bins,) that stand for each bin; `totals` (bins,) are everybody's counts, for the tails."""
    middles = (edges[1:] + edges[:-1]) / 2.0
    lower, upper = _tail(edges, totals), _tail(-edges[::-1], totals[::-1])
    return np.concatenate([[edges[0] - lower], middles, [edges[-1] + upper]])


def _tail(edges: Edges, totals: Floats) -> float:
    """Mean distance of the cases below the first edge from it, if they fall off as the counts of the next bins do."""
    beyond = float(totals[0])
    if beyond <= 0.0:
        return _UNKNOWN_TAIL
    within = np.cumsum(totals)
    enough = np.flatnonzero((within[1:-1] >= 2.0 * beyond) & (edges[1:] > edges[0]))
    if not enough.size:
        return _UNKNOWN_TAIL
    place = int(enough[0]) + 1
    distance = float(edges[place] - edges[0]) / float(np.log(within[place] / beyond))
    return min(max(distance, _LEAST_TAIL), _LONGEST_TAIL)


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
    """Observed over expected cases; what is expected counts as fixed, the cases as binomial."""
    chance, total = expit(at), float((p + n).sum())
    observed, expected = float(p.sum()), float(((p + n) * chance).sum())
    if min(observed, expected) <= 0.0 or observed >= total:
        return None
    value = observed / expected
    sampling = max(design) * observed * (1.0 - observed / total) / expected**2
    moved = ((1.0 - value * chance) ** 2 + (value * chance) ** 2).sum() / expected**2
    return value, sampling + variance * float(moved)
