"""The largest difference between groups: its interval, and how surely it is above a margin.

Two groups: the interval of their difference from their own, square and add (Newcombe 1998; Zou & Donner 2008;
`evaluation.intervals`). More groups: the largest of many differences is too large on average, so

- the lower limit is that of the largest difference with Tukey's allowance for having looked at all pairs;
- the upper limit is the largest of the pairs' upper limits. It needs no allowance: the pair that truly is farthest apart is
  one of them (Berger, Technometrics 1982;24:295-300).

The true gap is above the upper limit in at most 2.5 of 100, and below the lower one in at most 5 of 100: in 5 if it is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.audit.fairness_chance import range_p, range_z
from evaluation.audit.fairness_points import Array, Point
from evaluation.intervals import Z95

_HALVINGS = 50
_MOST = 12.0  # standard errors: more are not told apart


@dataclass(frozen=True)
class Gap:
    """Largest minus smallest figure with its 95% interval; `lowest` and `highest` are the groups' names."""

    value: float
    lo: float
    hi: float
    lowest: str
    highest: str


def gap(points: Sequence[Point]) -> Gap:
    """The gap of two or more groups."""
    ordered = sorted(points, key=lambda one: (one.value, one.name))
    low, high = ordered[0], ordered[-1]
    lo = float(_lower(ordered, range_z(len(points))).max())
    return Gap(high.value - low.value, max(0.0, lo), upper(points), low.name, high.name)


def upper(points: Sequence[Point], z: float = Z95) -> float:
    """Upper limit of the gap."""
    values, lo, hi = _at(points, z)
    below, above = values - lo, hi - values  # of the smaller and of the larger one of each pair
    return float((values[:, None] - values + np.hypot(above[:, None], below)).max())


def p_above(points: Sequence[Point], margin: float = 0.0) -> float:
    """Chance of groups so far apart, or farther, if no two truly are more than `margin` apart."""
    ordered = sorted(points, key=lambda one: one.name)
    if not (_lower(ordered, 0.0) > margin).any():
        return 1.0
    low, high = 0.0, _MOST
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if (_lower(ordered, middle) > margin).any() else (low, middle)
    return range_p(low, len(points))


def _lower(points: Sequence[Point], z: float) -> Array:
    """Lower limits (k, k) of the differences, row minus column."""
    values, lo, hi = _at(points, z)
    below, above = values - lo, hi - values
    limits: Array = values[:, None] - values - np.hypot(below[:, None], above)
    return limits


def _at(points: Sequence[Point], z: float) -> tuple[Array, Array, Array]:
    values = np.array([one.value for one in points])
    lo, hi = np.array([one.limits(z) for one in points]).T
    return values, lo, hi
