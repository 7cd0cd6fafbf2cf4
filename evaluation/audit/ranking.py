"""AUROC and average precision from the counts of one group and class, with or without noise on them.

Counts may be negative under noise; nothing is cut at 0, which would add patients where there are none. `design` (positives,
negatives) is the Kish design effect of images of one patient: what they are drawn by chance to be varies so much more.

Sources
    AUROC: DeLong, DeLong & Clarke-Pearson, Biometrics 1988;44:837-845. Images of one patient count as if they were all alike,
    which is the most they can widen it (Kish, Survey Sampling 1965), each class for itself.
    noise: the delta method's first two orders, as in evaluation.noisy_histograms.
    average precision: its sampling variance by the delta method from the counts; interval on log-odds (Boyd, Eng & Page, ECML
    PKDD 2013).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

Floats = NDArray[np.float64]
_CLEAR = 4.0  # standard deviations of the noise that the called cases must stand above it


@dataclass(frozen=True)
class Ranked:
    """A figure from counts: `sampling` and `noise` are the parts of its variance, `bound` what bins can have moved it by."""

    value: float
    sampling: float
    noise: float
    bound: float


def auroc(positive: Floats, negative: Floats, design: tuple[float, float], variance: float) -> Ranked | None:
    """The AUROC of counts (bins,) each with noise of `variance`; None if a class has no cases."""
    p, n = np.asarray(positive, dtype=np.float64), np.asarray(negative, dtype=np.float64)
    n_positive, n_negative = float(p.sum()), float(n.sum())
    if min(n_positive, n_negative) <= 0.0:
        return None
    below, above = placements(p, n)
    value = float((p * below).sum() / n_positive)
    sampling = design[0] * _of_mean(p, below, value) + design[1] * _of_mean(n, above, value)
    first = (((below - value) / n_positive) ** 2).sum() + (((above - value) / n_negative) ** 2).sum()
    second = variance * len(p) ** 2 / (2.0 * (n_positive * n_negative) ** 2)
    bound = max(0.0, float((p * n).sum() / (2.0 * n_positive * n_negative)))
    return Ranked(value, sampling, variance * float(first + second), bound)


def placements(p: Floats, n: Floats) -> tuple[Floats, Floats]:
    """Share of negatives below a positive in each bin, share of positives above a negative in it, (bins,) each."""
    return (np.cumsum(n) - n / 2.0) / n.sum(), 1.0 - (np.cumsum(p) - p / 2.0) / p.sum()


def _of_mean(counts: Floats, placed: Floats, auroc: float) -> float:
    n = float(counts.sum())
    if n == 1.0:
        return auroc * (1.0 - auroc)  # as in delong.delong
    n = max(n, 2.0)
    return max(0.0, float((counts * (placed - auroc) ** 2).sum() / (n - 1.0) / n))


def average_precision(positive: Floats, negative: Floats, design: tuple[float, float], variance: float) -> Ranked | None:
    """The average precision of counts (bins,), each with noise of `variance`; None where noise drowns the cases called first.

    Within a bin the negatives are taken to lie evenly between the positives; `bound` is how far any other order can move the
    value. Under noise the first bins, from the highest score on, are one until they hold four standard deviations of their
    noise, since precision divides by them.
    """
    p, n = np.asarray(positive, dtype=np.float64)[::-1], np.asarray(negative, dtype=np.float64)[::-1]  # highest first
    if p.sum() <= 0.0:
        return None
    noisy, groups, merged_p, merged_n = variance > 0.0, np.arange(len(p)), p, n
    if noisy:
        clear = np.cumsum(p + n) > _CLEAR * np.sqrt(2.0 * variance * np.arange(1, len(p) + 1))
        first = len(p) - int(np.argmin(clear[::-1])) if not clear.all() else 0  # from here on all are clear
        if first >= len(p):
            return None
        groups = np.maximum(np.arange(len(p)) - first, 0)
        merged_p = np.bincount(groups, weights=p).astype(np.float64)
        merged_n = np.bincount(groups, weights=n).astype(np.float64)
    value = float(_precision(merged_p, merged_n, noisy))
    by_p, by_n = slopes(merged_p, merged_n, noisy=noisy)
    spread = design[0] * (merged_p * by_p**2).sum() + design[1] * (merged_n * by_n**2).sum()
    sampling = max(0.0, float(spread))
    noise = variance * float((by_p[groups] ** 2 + by_n[groups] ** 2).sum())
    return Ranked(value, sampling, noise, _bound(merged_p, merged_n, value))


def _precision(p: Floats, n: Floats, noisy: bool) -> NDArray[np.float64]:
    """Average precision over the last axis (..., bins), highest bin first.

    Without noise the j-th of a bin's p positives has j n / (p + 1) of its n negatives before it, and the sum over j is closed
    by the digamma function. Under noise the middle of the bin stands for all of it.
    """
    called, wrong = np.cumsum(p, axis=-1) - p, np.cumsum(n, axis=-1) - n  # before the bin
    total = p.sum(axis=-1)
    if noisy:
        inner = p * (called + p / 2.0) / (called + wrong + (p + n) / 2.0)
    else:
        rate = 1.0 + n / (p + 1.0)
        start = (called + wrong) / rate
        inner = p / rate + (called - start) / rate * (digamma(start + p + 1.0) - digamma(start + 1.0))
    precision: NDArray[np.float64] = inner.sum(axis=-1) / total
    return precision


def slopes(p: Floats, n: Floats, *, noisy: bool) -> tuple[Floats, Floats]:
    """By how much one more positive, and one more negative, in each bin moves the average precision (bins,)."""
    step, each = 1e-4, np.eye(len(p))
    base = _precision(p, n, noisy)
    more_p = _precision(p + step * each, np.broadcast_to(n, each.shape), noisy)
    more_n = _precision(np.broadcast_to(p, each.shape), n + step * each, noisy)
    return (more_p - base) / step, (more_n - base) / step


def _bound(p: Floats, n: Floats, value: float) -> float:
    """The farther of the best order within each bin (positives first) and the worst; of estimates under noise, at least 0."""
    p, n = np.maximum(p, 0.0), np.maximum(n, 0.0)
    called, wrong = np.cumsum(p) - p, np.cumsum(n) - n

    def ordered(before: Floats) -> float:
        return float((p - before * (digamma(called + before + p + 1.0) - digamma(called + before + 1.0))).sum() / p.sum())

    return max(0.0, ordered(wrong) - value, value - ordered(wrong + n))
