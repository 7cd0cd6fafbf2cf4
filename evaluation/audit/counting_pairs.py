"""Inside a hospital: its test rows under two models, counted together (evaluation.audit.pairs)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evaluation import histograms
from evaluation.audit.edges import Edges
from evaluation.audit.layout import AuditLayout, Counts
from evaluation.audit.pairs import COARSE, N_COARSE, SCORES, n_own, own_coarse
from evaluation.scoring import checked_rows, log_odds, scored_classes
from protocol.errors import EvaluationError

Rows = NDArray[np.intp]


def count_pairs(
    layout: AuditLayout,
    edges: Sequence[Edges],
    labels: NDArray[np.integer],
    models: tuple[NDArray[np.float64], NDArray[np.floating] | None],
    memberships: Sequence[Rows],
) -> tuple[Counts, Counts]:
    """(scores, joint) as AuditLayout.split_pairs has them, of n images.

    `labels` (n,); `models` are the log-probabilities (n, classes) of the final model, which were checked, and of the one it is
    compared with; `memberships` holds for each family the group (n,) of every image. Raises EvaluationError where the second
    model has no scores, or one is not a number.
    """
    logs, baseline = models
    if baseline is None:
        raise EvaluationError("the plan compares with another model, and these rows hold no scores of it.")
    others = checked_rows(labels, baseline)[1]
    if others.shape != logs.shape or np.isnan(others).any() or not np.isfinite(others.max(axis=1, initial=0.0)).all():
        raise EvaluationError("evaluation.audit.compare_with: a score of that model is not a number; nothing was counted.")
    n_groups, few = len(layout.groups), n_own(layout.n_bins)
    scores = np.zeros((layout.n_classes, n_groups, 2, SCORES), dtype=np.int64)
    joint = np.zeros((layout.n_classes, n_groups, 2, few, N_COARSE), dtype=np.int64)
    for place, (index, inner) in enumerate(zip(scored_classes(logs.shape[1]), edges, strict=True)):
        negative = (labels != index).astype(np.intp)
        own = own_coarse(layout.n_bins)[np.searchsorted(inner, log_odds(logs, index), side="right")]
        theirs = np.searchsorted(histograms.EDGES, log_odds(others, index), side="right")
        for groups in memberships:
            cells = groups * 2 + negative
            scores[place] += _tallied(cells * SCORES + theirs, scores[place])
            joint[place] += _tallied((cells * few + own) * N_COARSE + COARSE[theirs], joint[place])
    return scores, joint


def _tallied(cells: Rows, like: Counts) -> Counts:
    return np.bincount(cells, minlength=like.size).reshape(like.shape)
