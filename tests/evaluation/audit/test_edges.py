"""Edges of equal mass with every threshold among them, and what a hospital accepts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation import histograms, noisy_histograms
from evaluation.audit.edges import check_edges, choose_edges, threshold_index
from evaluation.intervals import logit
from protocol.errors import EvaluationError
from tests.evaluation.audit.made_up_rows import hospitals as made_up
from tests.evaluation.audit.made_up_rows import layout, pooled_grid


def test_bins_hold_about_the_same_mass():
    shape, rows = layout(decision_thresholds=(), operating_points=(0.5,)), made_up(np.random.default_rng(1), 20_000)
    (edges,) = choose_edges(shape, pooled_grid(rows))
    odds = np.concatenate([one.log_probabilities[:, 1] for one in rows.values()])
    usual = np.delete(edges, threshold_index(edges, 0.5))
    counts = np.bincount(np.searchsorted(usual, odds, side="right"), minlength=128)
    assert len(usual) == 127
    assert np.abs(counts / len(odds) - 1 / 128).max() < 0.25 / 128


@given(
    st.lists(st.tuples(st.integers(0, histograms.N_BINS - 1), st.integers(1, 10**6)), max_size=30),
    st.lists(st.floats(0.001, 0.999), min_size=1, max_size=8, unique=True),
    st.integers(16, 512),
)
@settings(max_examples=60, deadline=None)
def test_edges_of_any_counts_are_finite_ascending_and_accepted(filled, points, bins):
    counts = np.zeros(histograms.N_BINS, dtype=np.int64)
    for bin_, count in filled:
        counts[bin_] += count
    shape = layout(operating_points=tuple(sorted(points)), bins=bins)
    (edges,) = choose_edges(shape, [(counts, counts)])
    assert edges.shape == (shape.n_edges,)
    check_edges(shape, [edges])
    for threshold in shape.thresholds:
        assert edges[threshold_index(edges, threshold)] == logit(threshold)


def test_no_share_of_the_mass_is_taken_from_an_open_bin():
    counts = np.zeros(histograms.N_BINS, dtype=np.int64)
    counts[0], counts[-1] = 50, 50  # infinitely sure scores
    (edges,) = choose_edges(layout(), [(counts, counts)])
    assert edges[0] == histograms.EDGES[0]
    assert edges[-1] == histograms.EDGES[-1]


def test_under_privacy_the_edges_never_depend_on_scores():
    shape = layout(private=True)
    (edges,) = choose_edges(shape)
    assert set(np.round(noisy_histograms.EDGES, 9)) <= set(np.round(edges, 9))
    moved = edges.copy()
    moved[moved == -0.25] += 0.01
    with pytest.raises(EvaluationError, match="fixed"):
        check_edges(shape, [moved])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda edges: edges[:-1], "edges of a histogram, where"),
        (lambda edges: np.where(edges == edges[5], np.nan, edges), "finite"),
        (lambda edges: np.where(edges == edges[-1], np.inf, edges), "finite"),
        (lambda edges: edges[::-1], "ascend"),
        (lambda edges: np.where(edges == 0.0, 1e-6, edges), r"threshold 0\.5"),
    ],
)
def test_a_hospital_counts_by_no_other_edges(spoil, said):
    shape = layout()
    (edges,) = choose_edges(shape, pooled_grid(made_up(np.random.default_rng(2), 500)))
    with pytest.raises(EvaluationError, match=said):
        check_edges(shape, [spoil(edges)])
    with pytest.raises(EvaluationError, match="2 classes"):
        check_edges(shape, [edges, edges])
