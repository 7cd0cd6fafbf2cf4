"""The final model's AUROC and average precision less another model's on the same images, from their counts together.

Each image moves either figure a little, by what its bin moves it (DeLong's placements for the AUROC, the delta method for
average precision). The variance of the difference is that of the two, less twice how they move together, label by label. That
last part comes from the coarse table of both scores, in which every bin stands for the mean of the fine ones in it: what the
two have in common within a coarse bin is left out, so the variance is rather too large. Images of one patient widen it as they
do the figures themselves (Kish).

Sources
    paired AUROCs: DeLong, DeLong & Clarke-Pearson, Biometrics 1988;44:837-845.
    several images of a patient: Kish, Survey Sampling 1965: for each label the most that it can be.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evaluation.audit import ranking
from evaluation.audit.layout import Counts
from evaluation.audit.measuring import Tallies
from evaluation.audit.pairs import COARSE, own_coarse, summed_by
from evaluation.audit.ranking import Floats


@dataclass(frozen=True, eq=False)
class _Moves:
    """By how much one case of each bin (bins,) moves a figure; `factor` is what each label's sum of squares is times."""

    positive: Floats
    negative: Floats
    factor: tuple[float, float]


def auroc_variance(own: Tallies, theirs: Tallies, joint: Counts) -> float:
    """Variance of `own`'s AUROC less `theirs`; `joint` (2, own coarse bins, N_COARSE) are both labels' counts in both scores.

    Both tallies have at least two cases of each label, of the same images; never negative.
    """
    return _variance(own, theirs, joint, _placed(own), _placed(theirs))


def precision_variance(own: Tallies, theirs: Tallies, joint: Counts) -> float:
    """As `auroc_variance`, of the average precision."""
    return _variance(own, theirs, joint, _sloped(own), _sloped(theirs))


def _placed(one: Tallies) -> _Moves:
    below, above = ranking.placements(one.positive, one.negative)
    positives, negatives = one.n
    value = float((one.positive * below).sum() / positives)
    more = positives / (positives - 1.0), negatives / (negatives - 1.0)
    return _Moves((below - value) / positives, (above - value) / negatives, more)


def _sloped(one: Tallies) -> _Moves:
    used = np.flatnonzero(one.positive + one.negative)[::-1]  # highest first; empty bins move nothing and take time
    moves = [np.zeros(len(one.positive)), np.zeros(len(one.negative))]
    for into, slopes in zip(moves, ranking.slopes(one.positive[used], one.negative[used], noisy=False), strict=True):
        into[used] = slopes
    return _Moves(moves[0], moves[1], (1.0, 1.0))


def _variance(own: Tallies, theirs: Tallies, joint: Counts, mine: _Moves, others: _Moves) -> float:
    total, coarse = 0.0, own_coarse(len(own.positive))
    labels = (
        (own.positive, theirs.positive, mine.positive, others.positive),
        (own.negative, theirs.negative, mine.negative, others.negative),
    )
    for label, (counts, their_counts, moves, their_moves) in enumerate(labels):
        together = _mean(moves, counts, coarse) @ joint[label] @ _mean(their_moves, their_counts, COARSE)
        apart = (counts * moves**2).sum() + (their_counts * their_moves**2).sum() - 2.0 * together
        total += own.design[label] * mine.factor[label] * max(0.0, float(apart))
    return total


def _mean(moves: Floats, counts: Floats, coarse: np.ndarray[tuple[int], np.dtype[np.intp]]) -> Floats:
    """What a case of each coarse bin moves on average; 0 where there is none."""
    weights = summed_by(counts, coarse)
    mean: Floats = np.divide(summed_by(moves * counts, coarse), weights, out=np.zeros(len(weights)), where=weights > 0)
    return mean
