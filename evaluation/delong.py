"""AUROC from rows with its variance, and how the AUROCs of two models on the same rows move together.

Every image moves the AUROC a little (DeLong's structural components). Images of one patient resemble each other, so what they
move it by is first added up patient by patient, positive and negative images alike (Obuchowski). Where every patient has one
image, that is DeLong's variance.

Sources
    variance: DeLong, DeLong & Clarke-Pearson, Biometrics 1988;44:837-845.
    by midranks: Sun & Xu, IEEE Signal Processing Letters 2014;21:1389-1393.
    by patient: Obuchowski, Biometrics 1997;53:567-578.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protocol.errors import EvaluationError

Labels = NDArray[np.integer | np.bool_]


@dataclass(frozen=True)
class _Moved:
    """An AUROC and by how much each patient moves it, through its positive and through its negative images.

    Both arrays are (n_patients,) and add up to 0. `n_with` counts the patients with positive and with negative images.
    """

    auroc: float
    positive: NDArray[np.float64]
    negative: NDArray[np.float64]
    n_with: tuple[int, int]


def delong(
    labels: Labels, scores: NDArray[np.floating], clusters: NDArray[np.integer] | None = None
) -> tuple[float, float] | None:
    """AUROC of `scores` (n,) for 0/1 `labels` (n,) and its variance; None if a class is absent. O(n log n).

    `clusters` (n,) says whose image each row is, in integer codes; then the images of a class must be of two patients at
    least, or the result is None. Without it every row is a patient of its own, and where a class has a single case, whose
    spread cannot be measured, the largest possible value, AUROC * (1 - AUROC), takes its place. Ties count one half. Raises
    EvaluationError on other labels, NaN or unequal lengths.
    """
    moved = _moved(labels, scores, clusters)
    return None if moved is None else (moved.auroc, _variance(moved))


def paired_delong(
    labels: Labels, first: NDArray[np.floating], second: NDArray[np.floating], clusters: NDArray[np.integer] | None = None
) -> tuple[float, float, NDArray[np.float64]] | None:
    """(AUROC of `first`, AUROC of `second`, their covariance (2, 2)) on the same rows; None where `delong` gives None.

    `labels`, `first`, `second` and `clusters` are (n,) each. The diagonal holds what `delong` gives. Two models that rank
    alike have four equal entries, so the variance of their difference is exactly 0. A class with a single case adds nothing
    off the diagonal, where it could not be measured. Raises EvaluationError as `delong` does.
    """
    one, two = _moved(labels, first, clusters), _moved(labels, second, clusters)
    if one is None or two is None:
        return None
    between = _covariance(one, two, single=0.0)
    return one.auroc, two.auroc, np.array([[_variance(one), between], [between, _variance(two)]])


def _moved(labels: Labels, scores: NDArray[np.floating], clusters: NDArray[np.integer] | None) -> _Moved | None:
    labels, ranked = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if labels.ndim != 1 or labels.shape != ranked.shape:
        raise EvaluationError(f"labels {labels.shape} and scores {ranked.shape} must be two vectors of one length.")
    if not np.isin(labels, (0, 1)).all():
        raise EvaluationError("labels must be 0 or 1; score one class against the rest.")
    if np.isnan(ranked).any():
        raise EvaluationError("a score is not a number; the model diverged, so there is nothing to rank.")
    positive, codes = labels.astype(bool), _codes(len(labels), clusters)
    of_positives, of_negatives = codes[positive], codes[~positive]
    n_with, fewest = (len(np.unique(of_positives)), len(np.unique(of_negatives))), 1 if clusters is None else 2
    if min(n_with) < fewest:
        return None
    below, above = _placements(positive, ranked)
    auroc, n_patients = float(below.mean()), int(codes.max()) + 1
    return _Moved(auroc, _by_patient(below, of_positives, n_patients), _by_patient(above, of_negatives, n_patients), n_with)


def _codes(n: int, clusters: NDArray[np.integer] | None) -> NDArray[np.intp]:
    """The patient of each row, numbered from 0 without gaps."""
    if clusters is None:
        return np.arange(n)
    clusters = np.asarray(clusters)
    if clusters.shape != (n,) or (n and not np.issubdtype(clusters.dtype, np.integer)):
        raise EvaluationError(f"patients {clusters.shape} of type {clusters.dtype} must be one integer code a row, {n} in all.")
    codes: NDArray[np.intp] = np.unique(clusters, return_inverse=True)[1]
    return codes


def _placements(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each positive the share of negatives below it, for each negative the share of positives above it."""
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    ranks = _midranks(scores)
    below = (ranks[positive] - _midranks(scores[positive])) / n_negative
    above = 1.0 - (ranks[~positive] - _midranks(scores[~positive])) / n_positive
    return below, above


def _midranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1, ties sharing their mean rank."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2.0)[group]
    return ranks


def _by_patient(placements: NDArray[np.float64], codes: NDArray[np.intp], n_patients: int) -> NDArray[np.float64]:
    centred = placements - placements.mean()
    sums: NDArray[np.float64] = np.bincount(codes, centred, minlength=n_patients) / len(centred)
    return sums


def _variance(one: _Moved) -> float:
    return _covariance(one, one, single=one.auroc * (1.0 - one.auroc))


def _covariance(one: _Moved, two: _Moved, *, single: float) -> float:
    """Obuchowski's S10/M + S01/N + (S11 of one, two + S11 of two, one)/MN, written so that no variance is negative.

    Sums of products over patients, times k/(k-1): k counts the patients with positives for products of positives, those with
    negatives for products of negatives, and all for mixed ones. With `r` the last of the three factors, which is the least,
    r (p + q)(p' + q') + (k1/(k1-1) - r) p p' + (k0/(k0-1) - r) q q' is the same. `single` stands for a class of one case.
    """
    n_patients = len(one.positive)
    least = n_patients / (n_patients - 1)
    total = least * float(((one.positive + one.negative) * (two.positive + two.negative)).sum())
    for k, p, q in zip(one.n_with, (one.positive, one.negative), (two.positive, two.negative), strict=True):
        total += (k / (k - 1) - least) * float((p * q).sum()) if k > 1 else single
    return total
