"""What the guesses of one audited run prove about epsilon.

Steinke, Nasr, Jagielski, "Privacy auditing with one (1) training run", NeurIPS 2023. Each of m canaries is in the data or not
by its own fair coin; an adversary sees the output and guesses r of the coins, abstaining from the rest. If the mechanism is
(epsilon, delta)-DP under adding or removing one, then (theorem 5.2) the chance of at least v right guesses is at most

    f(v) + 2 m delta max_{1 <= i <= v} (f(v - i) - f(v)) / i,   f(v) = P[Binomial(r, e^epsilon / (1 + e^epsilon)) >= v].

The smallest epsilon for which this exceeds 5% is a lower bound at 95%. Runs on disjoint sets of canaries are one mechanism on
their union (parallel composition), so their canaries may be pooled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95
GUESSED = (0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5)
"""Fractions of the canaries that are guessed: half of them the highest scores ("in"), half the lowest ("out"). The best counts,
so each is tested at 5% / 7 (Bonferroni). Fixed before anything is seen."""
MIN_CANARIES = 100
_HIGHEST = 40.0


@dataclass(frozen=True)
class LowerBound:
    """The best of the bounds over GUESSED; together they hold with probability CONFIDENCE."""

    epsilon: float
    canaries: int
    guesses: int
    right: int


def p_value(canaries: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """Upper bound (theorem 5.2) on the chance of at least `right` right ones among `guesses`, if (epsilon, delta)-DP holds."""
    from scipy import stats

    chance = 1.0 / (1.0 + math.exp(-epsilon))
    beyond = float(stats.binom.sf(right - 1, guesses, chance))
    if delta == 0.0 or right == 0:
        return min(1.0, beyond)
    steps = np.arange(1, right + 1)
    between = np.cumsum(stats.binom.pmf(right - steps, guesses, chance))
    return min(1.0, beyond + 2.0 * canaries * delta * float((between / steps).max()))


def epsilon_from_guesses(canaries: int, guesses: int, right: int, delta: float, alpha: float) -> float:
    """The largest epsilon that `right` of `guesses` refute at level `alpha`, to 1e-4; 0 if they refute none."""
    low, high = 0.0, _HIGHEST
    if p_value(canaries, guesses, right, low, delta) > alpha:
        return 0.0
    while high - low > 1e-4:
        middle = (low + high) / 2.0
        low, high = (middle, high) if p_value(canaries, guesses, right, middle, delta) <= alpha else (low, middle)
    return low


def lower_bound(included: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64], delta: float) -> LowerBound:
    """The bound at 95% from scores, shape (m,), that should be higher for canaries that were included, shape (m,)."""
    m, order = len(scores), np.argsort(scores, kind="stable")  # among equal scores the number decides, never the coin
    bounds = []
    for guesses in _guesses(m):
        half = guesses // 2
        right = int(included[order[m - half :]].sum() + (~included[order[:half]]).sum())
        epsilon = epsilon_from_guesses(m, guesses, right, delta, (1.0 - CONFIDENCE) / len(GUESSED))
        bounds.append(LowerBound(epsilon, m, guesses, right))
    return max(bounds, key=lambda bound: bound.epsilon)


def ceiling(canaries: int, delta: float) -> float:
    """The lower bound if every guess were right: what this many canaries can show at most."""
    alpha = (1.0 - CONFIDENCE) / len(GUESSED)
    return max(epsilon_from_guesses(canaries, guesses, guesses, delta, alpha) for guesses in _guesses(canaries))


def _guesses(canaries: int) -> list[int]:
    return [2 * max(1, round(canaries * fraction / 2.0)) for fraction in GUESSED]
