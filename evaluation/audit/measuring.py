"""From the summed counts to the figures of every class and group, and what of them may be shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from evaluation.audit import ranking
from evaluation.audit.calibration import calibration, positions
from evaluation.audit.edges import Edges, threshold_index
from evaluation.audit.figures import Calibration, GroupFigures
from evaluation.audit.layout import AuditLayout, Counts, Group
from evaluation.audit.rates import cells_at
from evaluation.audit.release import released
from evaluation.measured import Measured
from evaluation.metrics import SHOWN_FROM, Noise, sure
from evaluation.noisy_histograms import noise_variance
from protocol.errors import EvaluationError

Floats = NDArray[np.float64]
_MOST_BEYOND, _FEWEST_BINS = 0.5, 4.0  # share of cases in open bins; bins that cases are spread over (Simpson's number)


@dataclass(frozen=True, eq=False)
class Tallies:
    """The counts of one group and class: (bins,) of positives and of negatives, each with noise of `variance`.

    `design` holds the Kish design effects of positives and negatives, `patients` how many patients the rarer label's images
    are of (unknown under privacy, where each patient has one).
    """

    positive: Floats
    negative: Floats
    design: tuple[float, float]
    variance: float
    patients: int | None

    @property
    def n(self) -> tuple[float, float]:
        """Positives and negatives."""
        return float(self.positive.sum()), float(self.negative.sum())

    @property
    def count_sd(self) -> float:
        """Standard deviation of the noise on the number of positives, and on that of negatives."""
        return math.sqrt(len(self.positive) * self.variance)

    @property
    def noise(self) -> Noise | None:
        """What that does to a number of cases."""
        return Noise(0.0, self.count_sd) if self.variance > 0.0 else None

    @property
    def cases(self) -> int:
        """How many cases of the rarer label there are at least."""
        return min(sure(int(one), self.noise) for one in self.n)


def figures(
    layout: AuditLayout, edges: Sequence[Edges], summed: NDArray[np.signedinteger], n_silos: int
) -> tuple[tuple[GroupFigures, ...], ...]:
    """Of each class, of each group (in the layout's order): what the sum (layout.size,) of `n_silos` hospitals' vectors says.

    Raises EvaluationError if the sum has another length or no hospital is in it.
    """
    if n_silos < 1:
        raise EvaluationError("no hospital is in the sum, so there is nothing to measure.")
    release, measured = released(layout, edges, summed), []
    for index, (inner, groups) in enumerate(zip(edges, tallies(layout, summed, n_silos), strict=True)):
        at = positions(inner, groups[0].positive, groups[0].negative, groups[0].variance)
        marks = [(point, threshold_index(inner, point)) for point in layout.audit.operating_points]
        of_class = []
        for place, (group, one) in enumerate(zip(layout.groups, groups, strict=True)):
            rates = tuple(
                cells_at(point, one.positive, one.negative, mark, one.variance, (bool(may[0]), bool(may[1])))
                for (point, mark), may in zip(marks, release.rates[index, :, :, place], strict=True)
            )
            shown, small = bool(release.groups[index, place]), bool(release.small[index, place])
            of_class.append(
                GroupFigures(
                    group=group,
                    n=sum(one.n),
                    events=one.n[0],
                    count_sd=one.count_sd,
                    design=one.design,
                    auroc=measured_auroc(one),
                    average_precision=_average_precision(one),
                    rates=rates,
                    calibration=_calibration(one, at),
                    shown=shown,
                    why=None if shown else "small_cell" if small else "complement",
                )
            )
        measured.append(tuple(of_class))
    return tuple(measured)


def tallies(layout: AuditLayout, summed: NDArray[np.signedinteger], n_silos: int) -> tuple[tuple[Tallies, ...], ...]:
    """The counts of each class and group."""
    counts, sizes = layout.split(summed)
    return tuple(
        tuple(
            _tallies(counts[index, place], None if sizes is None else sizes[index, place], noise_on(layout, group, n_silos))
            for place, group in enumerate(layout.groups)
        )
        for index in range(layout.n_classes)
    )


def noise_on(layout: AuditLayout, group: Group, n_silos: int) -> float:
    """Variance of the noise on each count of a group: that of every hospital in the sum, or of its own hospital only."""
    if not layout.private:
        return 0.0
    return noise_variance(layout.votes / layout.audit.epsilon) * (1 if group.site is not None else n_silos)


def _tallies(counts: Counts, sizes: Counts | None, variance: float) -> Tallies:
    positive, negative = counts.astype(np.float64)
    if sizes is None:
        return Tallies(positive, negative, (1.0, 1.0), variance, None)
    design = [float(squares) / max(float(n), 1.0) for squares, n in zip(sizes[:, 1], counts.sum(axis=1), strict=True)]
    return Tallies(positive, negative, (max(design[0], 1.0), max(design[1], 1.0)), variance, int(sizes[:, 0].min()))


def measured_auroc(one: Tallies) -> Measured:
    """The AUROC of these counts with its variance; without a value where a label's images are of one patient."""
    found = ranking.auroc(one.positive, one.negative, one.design, one.variance)
    n, basis = (int(one.n[0]), int(one.n[1])), "summed counts" if one.noise is None else "summed noised counts"
    if found is None or (one.patients is not None and one.patients < 2):
        return Measured(None, None, *n, basis, noise=one.noise)
    noise = None if one.noise is None else Noise(found.noise, one.count_sd)
    return Measured(found.value, found.sampling + found.noise, *n, basis, found.bound, noise=noise)


def _average_precision(one: Tallies) -> ranking.Ranked | None:
    if one.cases < SHOWN_FROM:
        return None
    return ranking.average_precision(one.positive, one.negative, one.design, one.variance)


def _calibration(one: Tallies, at: Floats) -> Calibration:
    if one.cases < SHOWN_FROM:
        return Calibration()
    found = calibration(one.positive, one.negative, at, one.design, one.variance)
    return found if one.noise is None or _spread(one) else replace(found, slope=None)


def _spread(one: Tallies) -> bool:
    """Whether the fixed bins of a private run tell scores apart well enough for a slope.

    Half of the cases beyond the last edges, or in so few bins, and the slope would be that of what is assumed within them.
    """
    shares = np.maximum(one.positive + one.negative, 0.0)
    shares = shares / shares.sum()
    return bool(shares[0] + shares[-1] <= _MOST_BEYOND and 1.0 / (shares**2).sum() >= _FEWEST_BINS)
