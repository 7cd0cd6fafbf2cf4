"""Score histograms on one fixed grid, so that counts of different hospitals can be added, and the AUROC from counts.

The grid is on log-odds, never on probabilities: an over-confident network puts most probabilities beyond 0.999, where
equal-width bins lost up to 0.127 AUROC. Edge i is 3 sinh(i / 60): steps of 0.05 around even odds, growing to about 1.7%
of the value far out, up to log-odds of 105; both ends are open. The score 0, even odds, is an edge.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from protocol.errors import EvaluationError

# Inner edges, ascending (511,). Six decimals, so that every machine's sinh gives the same edges.
EDGES: NDArray[np.float64] = np.round(3.0 * np.sinh(np.arange(-255, 256) / 60.0), 6)
EDGES.setflags(write=False)
N_BINS = len(EDGES) + 1

Counts = NDArray[np.int64]


def histogram(labels: NDArray[np.integer | np.bool_], log_odds: NDArray[np.floating]) -> tuple[Counts, Counts]:
    """Counts (N_BINS,) of the positives' and of the negatives' `log_odds` (n,); labels (n,) are 0 or 1.

    A bin holds its lower edge; infinite scores fall in the end bins. Raises EvaluationError on NaN or unequal lengths.
    """
    labels, log_odds = np.asarray(labels), np.asarray(log_odds, dtype=np.float64)
    if labels.ndim != 1 or labels.shape != log_odds.shape:
        raise EvaluationError(f"labels {labels.shape} and log-odds {log_odds.shape} must be two vectors of one length.")
    if np.isnan(log_odds).any():
        raise EvaluationError("a score is not a number; the model diverged, so there is nothing to count.")
    bins, positive = np.searchsorted(EDGES, log_odds, side="right"), labels.astype(bool)
    return np.bincount(bins[positive], minlength=N_BINS), np.bincount(bins[~positive], minlength=N_BINS)


def auroc_from_histograms(positive: NDArray[np.integer], negative: NDArray[np.integer]) -> tuple[float, float, float] | None:
    """(AUROC, DeLong variance, binning bound) from two histograms of one grid; None if a class is absent.

    Cases that share a bin count one half. The bound is a certificate: no arrangement inside the bins moves the AUROC by
    more than 1/2 sum_b p_b n_b / (P N), half the share of pairs whose order the bins hide. The variance takes every case as
    independent: counts do not say which images are of one patient, so where patients have several it is too small.
    """
    p, n = np.asarray(positive, dtype=np.float64), np.asarray(negative, dtype=np.float64)
    if p.ndim != 1 or p.shape != n.shape:
        raise EvaluationError(f"histograms {p.shape} and {n.shape} are not on one grid.")
    if (p < 0).any() or (n < 0).any():
        raise EvaluationError("a histogram holds a negative count.")
    n_positive, n_negative = p.sum(), n.sum()
    if n_positive == 0 or n_negative == 0:
        return None
    below = (np.cumsum(n) - n / 2.0) / n_negative  # share of negatives below a positive in bin b
    above = 1.0 - (np.cumsum(p) - p / 2.0) / n_positive  # share of positives above a negative in bin b
    auroc = float((p * below).sum() / n_positive)
    variance = _variance_of_mean(p, below, auroc) + _variance_of_mean(n, above, auroc)
    return auroc, variance, float((p * n).sum() / (2.0 * n_positive * n_negative))


def _variance_of_mean(counts: NDArray[np.float64], placements: NDArray[np.float64], auroc: float) -> float:
    n = counts.sum()
    if n == 1:
        return auroc * (1.0 - auroc)  # as in delong.delong
    return float((counts * (placements - auroc) ** 2).sum() / (n - 1.0) / n)
