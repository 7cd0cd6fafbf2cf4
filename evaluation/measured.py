"""An AUROC before it is called an estimate, and how such figures are put together over classes and over hospitals.

More than two classes: each class against the rest, then the plain mean over classes (macro). The classes of one site share
their images, so their AUROCs are correlated in a way the site does not send; the mean of the standard errors stands
for the standard error of the mean, which by Cauchy-Schwarz cannot exceed it, whatever the correlation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.metrics import SHOWN_FROM, Estimate, Noise, auroc_estimate, sure
from protocol.errors import EvaluationError


@dataclass(frozen=True)
class Measured:
    """An AUROC with its variance, the class counts it rests on and what was counted.

    `complete` is False where a mean over classes had to leave a class out. value and variance are None together. With
    `noise`, the counts are estimates (of patients, possibly negative) and the variance holds the noise's part too.
    """

    value: float | None
    variance: float | None
    n_positive: int
    n_negative: int
    basis: str = "rows"
    binning_bound: float | None = None
    complete: bool = True
    noise: Noise | None = None

    @property
    def smaller(self) -> int:
        """How many cases of the smaller class there are at least; without noise, how many there are."""
        return min(sure(self.n_positive, self.noise), sure(self.n_negative, self.noise))

    @property
    def estimable(self) -> bool:
        """Whether there are enough cases of each class to show a figure."""
        return self.value is not None and self.smaller >= SHOWN_FROM

    def estimate(self) -> Estimate:
        """With interval and status."""
        n, bound = (self.n_positive, self.n_negative), self.binning_bound
        return auroc_estimate(self.value, self.variance, *n, basis=self.basis, binning_bound=bound, noise=self.noise)


def macro(classes: Sequence[Measured]) -> Measured:
    """The mean over the estimable classes, its variance bounded from above; a single class passes through unchanged."""
    if len(classes) == 1:
        return classes[0]
    if not classes:
        raise EvaluationError("scores without a class; a binary task has one, any other one per class.")
    used = [one for one in classes if one.estimable]
    rarest = min(used or classes, key=lambda one: one.smaller)
    basis = f"{classes[0].basis}, one class against the rest, mean over {len(used)} of {len(classes)} classes"
    if not used:
        return Measured(None, None, rarest.n_positive, rarest.n_negative, basis, complete=False, noise=rarest.noise)
    bounds = [one.binning_bound for one in used if one.binning_bound is not None]
    return Measured(
        value=float(np.mean([one.value for one in used])),
        variance=mean_deviation_squared([one.variance or 0.0 for one in used]),
        n_positive=rarest.n_positive,
        n_negative=rarest.n_negative,
        basis=basis,
        binning_bound=float(np.mean(bounds)) if bounds else None,
        complete=len(used) == len(classes),
        noise=_mean_noise([one.noise for one in used if one.noise is not None], rarest.noise),
    )


def mean_deviation_squared(variances: Sequence[float]) -> float:
    """The most that the variance of the mean of figures with these variances can be, however they move together."""
    return float(np.mean(np.sqrt(variances)) ** 2)


def stratify(parts: Sequence[Measured]) -> Measured:
    """One class within sites: the estimable sites' AUROCs, all positive-negative pairs of one site weighing the same.

    Sites are independent, so variances add: sum_s w_s^2 V_s.
    """
    used = [part for part in parts if part.estimable]
    n_positive, n_negative = sum(part.n_positive for part in used), sum(part.n_negative for part in used)
    basis = f"{parts[0].basis} within sites, weighted by pairs"
    if not used:
        return Measured(None, None, n_positive, n_negative, basis, noise=parts[0].noise)
    pairs = np.array([float(part.n_positive) * part.n_negative for part in used])
    weights = pairs / pairs.sum()
    noises = [part.noise for part in used if part.noise is not None]
    return Measured(
        value=float(weights @ [part.value or 0.0 for part in used]),
        variance=float(weights**2 @ [part.variance or 0.0 for part in used]),
        n_positive=n_positive,
        n_negative=n_negative,
        basis=basis,
        noise=_added_noise(noises, weights) if noises else None,
    )


def _mean_noise(noises: Sequence[Noise], rarest: Noise | None) -> Noise | None:
    """Of a mean over classes; counts are those of its rarest class."""
    return rarest and Noise(mean_deviation_squared([one.variance for one in noises]), rarest.count_sd)


def _added_noise(noises: Sequence[Noise], weights: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Noise:
    return Noise(float(weights**2 @ [one.variance for one in noises]), math.hypot(*(one.count_sd for one in noises)))
