"""From what each site said (`Scores`) to the figures of the federation: pooled, site-stratified, worst site.

Multi-class tasks: each class against the rest, then the plain mean over classes (macro). The classes of one site share
their images, so their AUROCs are correlated in a way the site does not send; the mean of the standard errors stands
for the standard error of the mean, which by Cauchy-Schwarz cannot exceed it, whatever the correlation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.histograms import auroc_from_histograms
from evaluation.metrics import SHOWN_FROM, Estimate, auroc_estimate
from protocol.errors import EvaluationError
from protocol.messages import ClassScores, Scores


@dataclass(frozen=True)
class Measured:
    """An AUROC before it is called an estimate: its variance, the class counts it rests on and what was counted.

    `complete` is False where a mean over classes had to leave a class out. value and variance are None together.
    """

    value: float | None
    variance: float | None
    n_positive: int
    n_negative: int
    basis: str = "rows"
    binning_bound: float | None = None
    complete: bool = True

    @property
    def estimable(self) -> bool:
        """Whether there are enough cases of each class to show a figure."""
        return self.value is not None and min(self.n_positive, self.n_negative) >= SHOWN_FROM

    def estimate(self) -> Estimate:
        """With interval and status."""
        n, bound = (self.n_positive, self.n_negative), self.binning_bound
        return auroc_estimate(self.value, self.variance, *n, basis=self.basis, binning_bound=bound)


def site_auroc(scores: Scores) -> Measured:
    """A site's headline AUROC from its own rows: the positive class, or the mean over the estimable classes."""
    return macro([class_auroc(one) for one in scores.classes])


def class_auroc(one: ClassScores) -> Measured:
    """One class against the rest, as the site measured it on its rows."""
    return Measured(one.auroc, one.auroc_variance, one.n_positive, one.n_negative)


def difference_variance(model: Scores, alone: Scores) -> float | None:
    """Variance of `model`'s headline AUROC minus that of the same site's `alone`, scored on the same rows; never negative.

    Var(a - b) = Var a + Var b - 2 Cov(a, b) of each class; a mean over classes takes the same bound as `macro`. None if a
    class that the headline rests on has no covariance, or the two were not scored on the same cases.
    """
    pairs = list(zip(model.classes, alone.classes, strict=True)) if len(model.classes) == len(alone.classes) else []
    if not pairs or any((one.n_positive, one.n_negative) != (two.n_positive, two.n_negative) for one, two in pairs):
        return None
    variances = [_paired_variance(one, two) for one, two in pairs if class_auroc(one).estimable]
    known = [variance for variance in variances if variance is not None]
    return _mean_deviation_squared(known) if known and len(known) == len(variances) else None


def pooled_by_class(sites: Sequence[Scores]) -> tuple[Measured, ...]:
    """Each class over all images of all sites as if they were one cohort: histograms added, then counted."""
    n_classes = _n_classes(sites)
    return tuple(_pool([site.classes[index] for site in sites]) for index in range(n_classes))


def pooled(sites: Sequence[Scores]) -> Measured:
    """The global AUROC over all images. Beware: with sites of unlike prevalence, recognising the site raises it.

    Its variance takes every image as independent; those of `stratified` and of the sites allow for several of a patient.
    """
    return macro(pooled_by_class(sites))


def stratified(sites: Sequence[Scores]) -> Measured:
    """The AUROC within sites: how often a positive outranks a negative of the SAME site; all such pairs weigh the same.

    Only sites with enough cases of each class count. Sites are independent, so variances add: sum_s w_s^2 V_s.
    """
    n_classes = _n_classes(sites)
    return macro([_stratify([class_auroc(site.classes[index]) for site in sites]) for index in range(n_classes)])


def worst_site(sites: Mapping[str, Scores]) -> tuple[str, Measured] | None:
    """The estimable site with the lowest AUROC over all its classes (ties: first by name); None if there is none."""
    measured = {name: site_auroc(scores) for name, scores in sorted(sites.items())}
    usable = {name: one for name, one in measured.items() if one.estimable and one.complete and one.value is not None}
    return min(usable.items(), key=lambda item: (item[1].value or 0.0, item[0])) if usable else None


def macro(classes: Sequence[Measured]) -> Measured:
    """The mean over the estimable classes, its variance bounded from above; a single class passes through unchanged."""
    if len(classes) == 1:
        return classes[0]
    if not classes:
        raise EvaluationError("scores without a class; a binary task has one, any other one per class.")
    used = [one for one in classes if one.estimable]
    rarest = min(used or classes, key=lambda one: min(one.n_positive, one.n_negative))
    basis = f"{classes[0].basis}, one class against the rest, mean over {len(used)} of {len(classes)} classes"
    if not used:
        return Measured(None, None, rarest.n_positive, rarest.n_negative, basis, complete=False)
    bounds = [one.binning_bound for one in used if one.binning_bound is not None]
    return Measured(
        value=float(np.mean([one.value for one in used])),
        variance=_mean_deviation_squared([one.variance or 0.0 for one in used]),
        n_positive=rarest.n_positive,
        n_negative=rarest.n_negative,
        basis=basis,
        binning_bound=float(np.mean(bounds)) if bounds else None,
        complete=len(used) == len(classes),
    )


def _mean_deviation_squared(variances: Sequence[float]) -> float:
    """The most that the variance of the mean of figures with these variances can be, however they move together."""
    return float(np.mean(np.sqrt(variances)) ** 2)


def _paired_variance(model: ClassScores, alone: ClassScores) -> float | None:
    own, other, covariance = model.auroc_variance, alone.auroc_variance, model.covariance_with_alone
    if own is None or other is None or covariance is None:
        return None
    return max(0.0, own + other - 2.0 * covariance)


def _pool(parts: Sequence[ClassScores]) -> Measured:
    positive = np.sum([part.histogram_positive for part in parts], axis=0)
    negative = np.sum([part.histogram_negative for part in parts], axis=0)
    value, variance, bound = auroc_from_histograms(positive, negative) or (None, None, None)
    return Measured(value, variance, int(positive.sum()), int(negative.sum()), "pooled histograms", bound)


def _stratify(parts: Sequence[Measured]) -> Measured:
    used = [part for part in parts if part.estimable]
    n_positive, n_negative = sum(part.n_positive for part in used), sum(part.n_negative for part in used)
    basis = "rows within sites, weighted by pairs"
    if not used:
        return Measured(None, None, n_positive, n_negative, basis)
    pairs = np.array([float(part.n_positive) * part.n_negative for part in used])
    weights = pairs / pairs.sum()
    value = float(weights @ [part.value or 0.0 for part in used])
    variance = float(weights**2 @ [part.variance or 0.0 for part in used])
    return Measured(value, variance, n_positive, n_negative, basis)


def _n_classes(sites: Sequence[Scores]) -> int:
    counts = sorted({len(site.classes) for site in sites})
    if len(counts) != 1 or counts[0] == 0:
        raise EvaluationError(f"sites scored {counts or 'no'} classes; all must score the same, and at least one.")
    return counts[0]
