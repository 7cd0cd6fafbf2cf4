"""Two models on the same test images: what is counted of the second one, so that a difference has the variance of pairs.

For each class, group and label two tables follow the counts of the final model. `scores` are the images by the score of the
baseline, on the fixed grid (evaluation.histograms), from which its figures come; nothing about its scores is known before, so
no edges can be chosen for it. `joint` are the images by both scores at once in few, coarse bins: from it comes only how the two
move together. That is the one thing the two separate tables cannot say, and coarse bins make it smaller, never larger, on
average, so that intervals of differences are rather too long (measured in docs/evaluation.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from evaluation import histograms
from protocol.errors import EvaluationError

if TYPE_CHECKING:
    from evaluation.audit.layout import AuditLayout

Counts = NDArray[np.int64]
Number = TypeVar("Number", np.int64, np.float64)
_MOST_OWN = 16  # coarse bins of the final model, of about equal mass
# Which of the fixed grid's edges above even odds cut the baseline's coarse bins, and below in the mirror: log-odds 0.2 apart up
# to 1, 0.25 up to 2, 0.3 to 0.8 up to 6, and then 8, 12, 20 and 40; near enough to each other where scores mostly lie.
_STEPS = (4, 8, 12, 16, 20, 24, 29, 33, 38, 42, 47, 53, 58, 65, 72, 79, 87, 102, 126, 156, 197)
_MIDDLE = 255  # the edge at even odds
_CUTS = np.array([_MIDDLE - step for step in reversed(_STEPS)] + [_MIDDLE] + [_MIDDLE + step for step in _STEPS])

SCORES = histograms.N_BINS
"""Number of bins of the baseline's scores."""
COARSE: NDArray[np.intp] = np.searchsorted(_CUTS, np.arange(SCORES), side="left")
"""(SCORES,) the coarse bin of each bin of the baseline's scores."""
COARSE.setflags(write=False)
N_COARSE = len(_CUTS) + 1


def own_coarse(n_bins: int) -> NDArray[np.intp]:
    """(n_bins,) the coarse bin of each bin of the final model's scores: as many bins in each as can be."""
    few = min(n_bins, _MOST_OWN)
    coarse: NDArray[np.intp] = np.arange(n_bins) * few // n_bins
    return coarse


def n_own(n_bins: int) -> int:
    """Number of the final model's coarse bins."""
    return min(n_bins, _MOST_OWN)


def check_pairs(layout: AuditLayout, counts: Counts, scores: Counts, joint: Counts) -> None:
    """Raises EvaluationError unless both tables can be of the images that `counts` (classes, groups, 2, bins) are of.

    `scores` (classes, groups, 2, SCORES) and `joint` (classes, groups, 2, own coarse bins, N_COARSE): no number is negative,
    and each image is once in each table, where the other tables have it.
    """
    if (scores < 0).any() or (joint < 0).any():
        raise EvaluationError("a count of the two models together is negative.")
    if (summed_by(counts, own_coarse(layout.n_bins)) != joint.sum(axis=4)).any():
        raise EvaluationError("the counts of the two models together are not of the images that the final model scored.")
    if (summed_by(scores, COARSE) != joint.sum(axis=3)).any():
        raise EvaluationError("the counts of the two models together are not of the images that the other model scored.")


def summed_by(values: NDArray[Number], coarse: NDArray[np.intp]) -> NDArray[Number]:
    """Values (..., bins) added up within coarse bins, (..., coarse bins); `coarse` (bins,) ascends and leaves none out."""
    added: NDArray[Number] = np.add.reduceat(values, np.searchsorted(coarse, np.arange(int(coarse[-1]) + 1)), axis=-1)
    return added
