"""The edges of the audit's histograms, on log-odds: of equal mass where scores are known, and one on every threshold.

What is read at an edge is exact, whatever the bins hide; so sensitivity, specificity and net benefit lose nothing. Between
them edges of equal mass lose least of the AUROC: they come from the histograms on the fixed grid (evaluation.histograms) that
were counted before, by interpolation within its bins. Under privacy the fixed edges of evaluation.noisy_histograms serve.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evaluation import histograms, noisy_histograms
from evaluation.audit.layout import AuditLayout
from evaluation.intervals import logit
from protocol.errors import EvaluationError

Edges = NDArray[np.float64]
_NEAR = 1e-9  # log-odds; two machines' logarithms may differ in the last bit


def choose_edges(
    layout: AuditLayout, pooled: Sequence[tuple[NDArray[np.integer], NDArray[np.integer]]] = ()
) -> tuple[Edges, ...]:
    """Inner edges (layout.n_edges,) of each scored class, ascending and finite.

    `pooled` holds the (positive, negative) counts of each class on the fixed grid, over all hospitals; under privacy it is
    not looked at. Raises EvaluationError if it holds other classes or another grid.
    """
    marks = np.array([logit(threshold) for threshold in layout.thresholds])
    if layout.private:
        usual = [noisy_histograms.EDGES] * layout.n_classes
    elif len(pooled) != layout.n_classes:
        raise EvaluationError(f"histograms of {len(pooled)} classes, where the plan's audit has {layout.n_classes}.")
    else:
        usual = [_equal_mass(np.asarray(p) + np.asarray(n), layout.audit.bins) for p, n in pooled]
    return tuple(np.sort(np.concatenate([one, marks])) for one in usual)


def _equal_mass(counts: NDArray[np.integer], bins: int) -> Edges:
    """`bins` - 1 edges (bins - 1,) between which lies the same share of `counts` each; a share in an open bin ends at its edge.

    Without a single count every bin of the grid weighs the same.
    """
    if counts.shape != (histograms.N_BINS,) or (counts < 0).any():
        raise EvaluationError(f"counts {counts.shape} are not on the fixed grid of {histograms.N_BINS} bins.")
    mass = counts.astype(np.float64) if counts.any() else np.ones(histograms.N_BINS)
    below = np.cumsum(mass)[:-1]  # mass below each edge of the grid
    wanted = mass.sum() * np.arange(1, bins) / bins
    upper = np.searchsorted(below, wanted, side="left")  # first edge with so much mass below
    right, left = np.clip(upper, 1, len(below) - 1), np.clip(upper, 1, len(below) - 1) - 1
    inside = mass[right]  # of the bin between the two
    share = np.divide(wanted - below[left], inside, out=np.zeros(len(wanted)), where=inside > 0)
    grid = histograms.EDGES
    found = grid[left] + np.clip(share, 0.0, 1.0) * (grid[right] - grid[left])
    edges: Edges = np.round(np.where(upper == 0, grid[0], np.where(upper >= len(below), grid[-1], found)), 9)
    return edges


def check_edges(layout: AuditLayout, edges: Sequence[NDArray[np.float64]]) -> tuple[Edges, ...]:
    """`edges` as a silo may count by them, or EvaluationError: all classes', so many, finite, ascending, thresholds among them.

    Under privacy they must be the fixed ones: edges chosen for a hospital could be laid around a patient.
    """
    if len(edges) != layout.n_classes:
        raise EvaluationError(f"edges of {len(edges)} classes, where the plan's audit has {layout.n_classes}.")
    checked = tuple(np.asarray(one, dtype=np.float64) for one in edges)
    for one in checked:
        if one.shape != (layout.n_edges,):
            raise EvaluationError(f"{one.size} edges of a histogram, where the plan's audit has {layout.n_edges}.")
        if not np.isfinite(one).all() or (np.diff(one) < 0).any():
            raise EvaluationError("edges of a histogram must be finite and ascend.")
        for threshold in layout.thresholds:
            if abs(one[threshold_index(one, threshold)] - logit(threshold)) > _NEAR:
                raise EvaluationError(f"no edge lies on the plan's threshold {threshold}; figures there would not be exact.")
    if layout.private:
        for one, fixed in zip(checked, choose_edges(layout), strict=True):
            if np.abs(one - fixed).max() > _NEAR:
                raise EvaluationError("under privacy the edges are fixed; these are others, so nothing is counted.")
    return checked


def threshold_index(edges: Edges, threshold: float) -> int:
    """Which edge lies on a probability. Cases from bin index + 1 on have at least that probability."""
    return int(np.argmin(np.abs(edges - logit(threshold))))
