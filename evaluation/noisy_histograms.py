"""Votes of patients in a few bins of log-odds, and the AUROC from such counts after noise was added to every bin.

Inside a hospital each patient has one vote: one of its images, drawn at random, counted by its label and the bin of its score.
Adding or removing a patient moves one count by one, so discrete Laplace noise on every bin, empty ones too, hides the patient.

Why so few bins: every bin adds noise, whether or not a score falls in it; too few bins tie pairs that differ. The edges are
public and the same for every run. They are fine around even odds, where models that trained with noise put their scores,
reach further down than up, since the positive class is mostly the rarer one, and leave both ends open. Mean over 45 pairs of
normal distributions (AUROC 0.65, 0.8, 0.92; their middle at log-odds 0, -1, -2.5; standard deviation 0.2 to 3.2):

| bins | lost by binning | noise sd, epsilon 0.3, 300 + 500 patients | root mean square of both |
|---|---|---|---|
| 8 | 0.061 | 0.020 | 0.100 |
| 12 | 0.024 | 0.025 | 0.043 |
| 16 (these) | 0.016 | 0.028 | 0.036 |
| 24 | 0.011 | 0.033 | 0.039 |
| 32 | 0.010 | 0.037 | 0.043 |
| 64 | 0.005 | 0.056 | 0.060 |

What is lost is lost downwards: tied pairs count one half. At AUROC 0.8 and a middle of 0 these edges lose 0.002 where a class's
scores spread by 1.2, 0.016 by 0.3, 0.051 by 0.15; far from the middle (-3, as of a class of 5%) 0.04 to 0.08.

Sources
    noise: Ghosh, Roughgarden & Sundararajan, SIAM Journal on Computing 2012;41:1673-1693.
    AUROC and its sampling variance: as in `evaluation.histograms`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.scoring import checked_rows, log_odds, scored_classes
from protocol.errors import EvaluationError

# Inner edges, ascending (15,): part of what all hospitals must agree on, never made from data.
EDGES: NDArray[np.float64] = np.array(
    [-3.0, -2.5, -2.05, -1.65, -1.3, -1.0, -0.75, -0.5, -0.25, 0.0, 0.3, 0.65, 1.05, 1.5, 2.0]
)  # fmt: skip
EDGES.setflags(write=False)
N_BINS = len(EDGES) + 1

Counts = NDArray[np.int64]


def count_votes(
    labels: NDArray[np.integer],
    log_probabilities: NDArray[np.floating],
    patients: NDArray[np.integer],
    pick: Callable[[int], int],
) -> tuple[tuple[Counts, Counts], ...]:
    """(positive, negative) counts (N_BINS,) of each scored class: one pair for two classes, else each class against the rest.

    `labels` (n,) are class indices, `log_probabilities` (n, n_classes) natural logs or logits, `patients` (n,) integer codes:
    whose image each row is. `pick(k)` draws the vote of a patient with k images, 0 to k - 1, from a secure source. A patient's
    image is the same for every class. A score that is not a number votes at even odds: a refusal would tell of one patient.
    Raises EvaluationError only on what does not depend on a single patient's image: shapes and labels out of range.
    """
    labels, logs = checked_rows(labels, log_probabilities)
    codes = np.asarray(patients)
    if codes.shape != labels.shape or (codes.size and not np.issubdtype(codes.dtype, np.integer)):
        raise EvaluationError(
            f"patients {codes.shape} of type {codes.dtype} must be one integer code a row, {len(labels)} in all."
        )
    rows = _votes(codes, pick)
    labels, logs = labels[rows], logs[rows]
    with np.errstate(invalid="ignore"):  # a score that is not a number is dealt with in _count
        return tuple(_count(labels == index, log_odds(logs, index)) for index in scored_classes(logs.shape[1]))


def _votes(patients: NDArray[np.integer], pick: Callable[[int], int]) -> NDArray[np.intp]:
    """The row that votes for each patient."""
    order = np.argsort(patients, kind="stable")
    _, starts, sizes = np.unique(patients[order], return_index=True, return_counts=True)
    drawn = [int(start) + pick(int(size)) for start, size in zip(starts, sizes, strict=True)]
    rows: NDArray[np.intp] = order[np.array(drawn, dtype=np.intp)]
    return rows


def _count(positive: NDArray[np.bool_], odds: NDArray[np.float64]) -> tuple[Counts, Counts]:
    bins = np.searchsorted(EDGES, np.where(np.isnan(odds), 0.0, odds), side="right")
    return np.bincount(bins[positive], minlength=N_BINS), np.bincount(bins[~positive], minlength=N_BINS)


def noise_variance(scale: float) -> float:
    """Variance of discrete Laplace noise, P(x) ~ exp(-|x| / scale): 2a / (1 - a)^2 with a = exp(-1 / scale)."""
    if not (scale > 0.0 and math.isfinite(scale)):
        raise EvaluationError(f"the scale of the noise is {scale}; it must be above 0 and finite.")
    return 2.0 * math.exp(-1.0 / scale) / math.expm1(-1.0 / scale) ** 2


@dataclass(frozen=True)
class NoisyAuroc:
    """An AUROC from noised counts: `value`, the parts of its variance, and the estimated numbers of patients it rests on.

    `value` may lie outside 0 to 1 by the noise. `sampling` is the variance that patients drawn by chance give it, `noise` that
    of the noise. `bound` estimates by how much the bins can have moved it. `n_positive` and `n_negative` may be negative.
    """

    value: float
    sampling: float
    noise: float
    bound: float
    n_positive: float
    n_negative: float


def noisy_auroc(positive: NDArray[np.integer], negative: NDArray[np.integer], variance: float) -> NoisyAuroc | None:
    """The AUROC of noised counts (N_BINS,), or of their sums over hospitals; None if a class has no patients by its estimate.

    `variance` is that of the noise on one bin of what is given (`noise_variance`; sums of counts have the sum of theirs).
    Pairs in one bin count one half. No count is cut at 0: that would add patients where there are none. The counts enter a
    quotient, so the value is unbiased only to first order: trust it where the patients of each class outnumber their noise
    (`evaluation.measured`). The noise part is the delta method's: each bin moves the value by its distance from it, over
    the patients of the class. Raises EvaluationError unless both are of this grid.
    """
    p, n = np.asarray(positive, dtype=np.float64), np.asarray(negative, dtype=np.float64)
    if p.shape != (N_BINS,) or n.shape != (N_BINS,):
        raise EvaluationError(f"histograms {p.shape} and {n.shape} are not on the grid of {N_BINS} bins.")
    n_positive, n_negative = float(p.sum()), float(n.sum())
    if min(n_positive, n_negative) <= 0.0:
        return None
    below = (np.cumsum(n) - n / 2.0) / n_negative  # share of negatives below a positive in bin b
    above = 1.0 - (np.cumsum(p) - p / 2.0) / n_positive  # share of positives above a negative in bin b
    value = float((p * below).sum() / n_positive)
    moved = ((below - value) / n_positive, (above - value) / n_negative)
    return NoisyAuroc(
        value=value,
        sampling=_variance_of_mean(p, below, value) + _variance_of_mean(n, above, value),
        noise=variance * float(sum((one**2).sum() for one in moved)),
        bound=max(0.0, float((p * n).sum() / (2.0 * n_positive * n_negative))),
        n_positive=n_positive,
        n_negative=n_negative,
    )


def _variance_of_mean(counts: NDArray[np.float64], placements: NDArray[np.float64], auroc: float) -> float:
    """As for counts without noise; where noise makes it negative, 0: the noise part is then much the larger one."""
    n = max(float(counts.sum()), 2.0)
    return max(0.0, float((counts * (placements - auroc) ** 2).sum() / (n - 1.0) / n))
