"""One figure of every group of a family, ready to be compared: its values and its limits at any confidence."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from evaluation.audit.figures import Cells, GroupFigures
from evaluation.audit.figures import Point as ValueVariance
from evaluation.audit.rates import wilson
from evaluation.intervals import Z95, logit_interval, score_interval, widened
from evaluation.metrics import SHOWN_FROM, Noise, near_the_edge, sure

UNKNOWN = "unknown"
_MOST_LOG = 50.0  # a ratio known so badly is not known at all; its exponential is still a number
Array = NDArray[np.float64]
Limits = Callable[[float], tuple[float, float]]  # z -> the figure's limits at that many standard errors


@dataclass(frozen=True)
class Point:
    """A figure of one group. `limits(z)` holds its value for every z >= 0, and widens as z grows."""

    name: str
    value: float
    limits: Limits

    @property
    def error(self) -> float:
        """Standard error: a quarter of the width of the 95% interval, more or less."""
        lo, hi = self.limits(Z95)
        return (hi - lo) / (2.0 * Z95)


@dataclass(frozen=True)
class Family:
    """The groups of one attribute that can be compared in one figure, and why the others cannot.

    `unknown` is apart: who has no value may be anyone, so nothing is concluded from those patients alone.
    """

    points: tuple[Point, ...]
    unknown: tuple[Point, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)


Measure = Callable[[GroupFigures], Point | str]  # the point, or why there is none


def family(groups: Sequence[GroupFigures], measure: Measure) -> Family:
    """One figure of the groups of one attribute; what may not be shown is left out of everything."""
    points, unknown, left_out = [], [], {}
    for one in groups:
        name, found = one.group.value, measure(one) if one.shown else (one.why or "not_shown")
        nameless = any(value == UNKNOWN for _, value in one.group.pairs)
        if isinstance(found, str):
            left_out[name] = found
        elif nameless:
            left_out[name] = UNKNOWN
            unknown.append(found)
        else:
            points.append(found)
    return Family(tuple(points), tuple(unknown), left_out)


def auroc(one: GroupFigures) -> Point | str:
    """The group's AUROC, on log-odds; very near 0 or 1 Newcombe's score, images of one patient counting for less."""
    measured = one.auroc
    if measured is None:
        return "not_estimable"
    if measured.smaller < SHOWN_FROM:
        return "too_few" if measured.noise is None else "too_much_noise"
    if measured.value is None or measured.variance is None:
        return "not_estimable"
    noise = 0.0 if measured.noise is None else measured.noise.variance
    value, variance = min(max(measured.value, 0.0), 1.0), max(0.0, measured.variance - noise)
    n_positive, n_negative = (
        max(1, round(n / design)) for n, design in zip((measured.n_positive, measured.n_negative), one.design, strict=True)
    )
    if near_the_edge(value, variance, measured.smaller):
        return _point(one, value, noise, lambda z: score_interval(value, n_positive, n_negative, z))
    return _point(one, value, noise, lambda z: logit_interval(value, variance, z))


def sensitivity(position: int) -> Measure:
    """Of the positives the share that is called, at the operating point at `position`; Wilson."""

    def measure(one: GroupFigures) -> Point | str:
        cells = one.rates[position]
        return _rate(one, cells.positives_shown, (cells.tp, cells.fn), cells.noise[:2], one.design[0])

    return measure


def false_positive_rate(position: int) -> Measure:
    """Of the negatives the share that is called, at the operating point at `position`; Wilson."""

    def measure(one: GroupFigures) -> Point | str:
        cells: Cells = one.rates[position]
        return _rate(one, cells.negatives_shown, (cells.fp, cells.tn), cells.noise[2:], one.design[1])

    return measure


def slope(one: GroupFigures) -> Point | str:
    """The group's calibration slope; normal."""
    found = one.calibration.slope
    return _enough(one) or (_normal(one, found) if found is not None else "not_estimable")


def observed_expected(one: GroupFigures) -> Point | str:
    """The group's observed cases over those expected; normal on the logarithm."""
    found, lacking = one.calibration.observed_expected, _enough(one)
    if lacking or found is None or found[0] <= 0.0:
        return lacking or "not_estimable"
    value, relative = found[0], math.sqrt(found[1]) / found[0]

    def limits(z: float) -> tuple[float, float]:
        factor = math.exp(min(z * relative, _MOST_LOG))
        return value / factor, value * factor

    return Point(one.group.value, value, limits)


def _normal(one: GroupFigures, found: ValueVariance) -> Point:
    value, error = found[0], math.sqrt(found[1])
    return Point(one.group.value, value, lambda z: (value - z * error, value + z * error))


def _enough(one: GroupFigures) -> str:
    """Why there are too few cases of a class; empty if there are enough."""
    noise = Noise(0.0, one.count_sd) if one.count_sd > 0.0 else None
    if sure(int(min(one.events, one.n - one.events)), noise) >= SHOWN_FROM:
        return ""
    return "too_few" if noise is None else "too_much_noise"


def _rate(one: GroupFigures, shown: bool, counts: tuple[float, float], noise: tuple[float, ...], design: float) -> Point | str:
    """`counts`: called, not called. The noise moves the share by (1 - p) through the first count and by p through the other."""
    called, n = counts[0], sum(counts)
    noised = Noise(0.0, math.sqrt(sum(noise))) if any(noise) else None
    if not shown:
        return "small_cell"
    if sure(int(n), noised) < SHOWN_FROM:
        return "too_few" if noised is None else "too_much_noise"
    value = min(max(called / n, 0.0), 1.0)
    extra = ((1.0 - value) ** 2 * noise[0] + value**2 * noise[1]) / n**2
    return _point(one, value, extra, lambda z: wilson(value, n / design, z))


def _point(one: GroupFigures, value: float, noise: float, limits: Limits) -> Point:
    if noise == 0.0:
        return Point(one.group.value, value, limits)
    return Point(one.group.value, value, lambda z: widened(value, *limits(z), noise, z))
