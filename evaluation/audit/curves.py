"""Everyone's curves of one class: calibration, net benefit, score distribution.

All are made of the same cuts between bins, so that what is shown adds up to nothing smaller: a cut is made only where every
cell between cuts keeps 0 or smallest_cell images and patients. First come the operating points that are shown, then the
thresholds of the decision curve, then tenths and twentieths of everybody's scores.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.special import expit

from evaluation.audit import estimates
from evaluation.audit.calibration import positions
from evaluation.audit.decision import net_benefit, treat_all
from evaluation.audit.edges import Edges, threshold_index
from evaluation.audit.figures import GroupFigures
from evaluation.audit.layout import AuditLayout, Counts
from evaluation.audit.measuring import Tallies
from evaluation.audit.patients import least_patients
from evaluation.audit.rates import cells_at, share
from evaluation.metrics import SHOWN_FROM

_TENTHS, _TWENTIETHS = 10, 20


@dataclass
class _Cuts:
    """Where the bins of one label are cut: positions between bins, both ends among them."""

    below: Counts  # (bins + 1,) cases below each position
    sizes: Counts | None  # patients, sum of squares; None: nothing is small
    k: int
    at: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.at = [0, len(self.below) - 1]

    def may(self, position: int) -> bool:
        """Whether a cut at `position` leaves no small cell."""
        if self.sizes is None or position in self.at:
            return True
        place = bisect_left(self.at, position)
        ends = self.below[[self.at[place - 1], position, self.at[place]]]
        cells = np.diff(ends)
        people = least_patients(cells, self.below[-1:], self.sizes[:1], self.sizes[1:])
        return not ((cells > 0) & ((cells < self.k) | (people < self.k))).any()

    def cut(self, position: int) -> None:
        """Make a cut."""
        if position not in self.at:
            insort(self.at, position)


def curves(layout: AuditLayout, edges: Edges, everyone: Tallies, sizes: Counts | None, found: GroupFigures) -> dict[str, Any]:
    """`calibration_curve`, `decision_curve` and `score_distribution` of a class; empty or null where it may not be shown.

    `everyone` are the counts of all, `sizes` (2, 2) their patients and squares by label (None under privacy).
    """
    if not found.shown:
        return {"calibration_curve": [], "decision_curve": [], "score_distribution": None}
    totals = everyone.positive + everyone.negative
    by_label = [
        _Cuts(
            np.concatenate([[0], np.cumsum(one)]).astype(np.int64),
            None if sizes is None else sizes[label],
            layout.audit.smallest_cell,
        )
        for label, one in enumerate((everyone.positive, everyone.negative))
    ]
    for rate in found.rates:
        for one, may in zip(by_label, (rate.positives_shown, rate.negatives_shown), strict=True):
            if may:
                one.cut(threshold_index(edges, rate.threshold) + 1)
    marks = [threshold_index(edges, threshold) + 1 for threshold in layout.audit.decision_thresholds]
    for position in (*marks, *_quantiles(totals, _TENTHS), *_quantiles(totals, _TWENTIETHS)):
        if all(one.may(position) for one in by_label):
            for one in by_label:
                one.cut(position)
    at = positions(edges, everyone.positive, everyone.negative, everyone.variance)
    both = sorted(set(by_label[0].at) & set(by_label[1].at))
    return {
        "calibration_curve": _calibration_curve(everyone, at, both),
        "decision_curve": [
            _decision(everyone, threshold, mark, mark in both)
            for threshold, mark in zip(layout.audit.decision_thresholds, marks, strict=True)
        ],
        "score_distribution": _distribution(everyone, edges, both),
    }


def _quantiles(totals: np.ndarray[Any, np.dtype[np.float64]], parts: int) -> list[int]:
    """Positions between bins that cut `totals` into about equal parts."""
    below, whole = np.cumsum(totals), float(totals.sum())
    return [int(np.argmin(np.abs(below - whole * part / parts))) + 1 for part in range(1, parts)]


def _calibration_curve(everyone: Tallies, at: np.ndarray[Any, np.dtype[np.float64]], both: list[int]) -> list[dict[str, Any]]:
    """About ten points: observed share against the mean predicted probability, to three decimals as it is made of fine bins."""
    totals = everyone.positive + everyone.negative
    below = np.concatenate([[0.0], np.cumsum(totals)])
    wanted = [float(below[-1]) * part / _TENTHS for part in range(1, _TENTHS)]
    inner = {min(both[1:-1], key=lambda position: abs(below[position] - mass)) for mass in wanted} if len(both) > 2 else set()
    chance, points = expit(at), []
    for start, end in pairwise(sorted({both[0], *inner, both[-1]})):
        n, width = float(totals[start:end].sum()), end - start
        expected = float((totals[start:end] * chance[start:end]).sum())
        if n <= 0.0 or not 0.0 <= expected <= n:
            continue
        noise = width * everyone.variance
        yes, no = float(everyone.positive[start:end].sum()), float(everyone.negative[start:end].sum())
        observed = share(yes, no, (noise, noise), max(everyone.design))
        points.append({"predicted": round(expected / n, 3), "observed": observed})
    return points


def _decision(everyone: Tallies, threshold: float, mark: int, may_show: bool) -> dict[str, Any]:
    cells = cells_at(threshold, everyone.positive, everyone.negative, mark - 1, everyone.variance)
    point, every = net_benefit(cells, max(everyone.design)), treat_all(cells)
    if everyone.cases < SHOWN_FROM or point is None or every is None:
        why = "too_few_images" if everyone.noise is None else "too_much_noise"
        return {"threshold": threshold, "model": estimates.lacking(why, everyone.cases), "treat_all": None, "treat_none": 0.0}
    method = "summed counts, delta method" if everyone.noise is None else "summed noised counts, delta method"
    model = estimates.normal(point, method, everyone.cases) if may_show else estimates.suppressed("small_cell")
    return {"threshold": threshold, "model": model, "treat_all": estimates.rounded(every), "treat_none": 0.0}


def _distribution(everyone: Tallies, edges: Edges, both: list[int]) -> dict[str, Any]:
    """Cases between the cuts, whose inner ones are given as probabilities; under privacy estimates, possibly negative."""
    inner = [position for position in both[1:-1] if position == both[1] or edges[position - 1] > edges[position - 2]]
    bounds = [both[0], *inner, both[-1]]
    counts = {
        name: [int(one[start:end].sum()) for start, end in pairwise(bounds)]
        for name, one in (("positive", everyone.positive), ("negative", everyone.negative))
    }
    spread = {} if everyone.noise is None else {"count_sd": estimates.rounded(math.sqrt(everyone.variance))}
    return {"edges": [estimates.rounded(float(expit(edges[position - 1]))) for position in inner], **counts, **spread}
