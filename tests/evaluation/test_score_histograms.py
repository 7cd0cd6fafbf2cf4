"""The fixed grid, and what follows from counts on it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import roc_auc_score

from evaluation.delong import delong
from evaluation.histograms import EDGES, N_BINS, auroc_from_histograms, histogram
from protocol.errors import EvaluationError

LOG_ODDS = arrays(np.float64, st.integers(4, 80), elements=st.floats(-150, 150))


def labels_for(scores: np.ndarray) -> np.ndarray:
    return np.arange(len(scores)) % 3 == 0


def test_grid_is_ascending_symmetric_fine_in_the_middle_and_read_only():
    assert N_BINS == len(EDGES) + 1 == 512
    assert np.all(np.diff(EDGES) > 0)
    np.testing.assert_array_equal(EDGES, -EDGES[::-1])
    assert 0.0 in EDGES
    assert np.diff(EDGES).min() == pytest.approx(0.05, abs=1e-4)
    assert EDGES[-1] > 100
    with pytest.raises(ValueError, match="read-only"):
        EDGES[0] = 0.0


def test_every_case_is_counted_once_far_tails_and_edges_included():
    scores = np.r_[EDGES, -np.inf, np.inf, 1e300, -1e300]
    positive, negative = histogram(np.ones(len(scores), int), scores)
    assert positive.sum() == len(scores)
    assert negative.sum() == 0
    assert positive[0] == 2  # below the first edge
    assert positive[-1] == 3  # on and above the last


@settings(max_examples=60, deadline=None)
@given(LOG_ODDS)
def test_exact_auroc_lies_within_the_certificate(scores):
    labels = labels_for(scores)
    value, _, bound = auroc_from_histograms(*histogram(labels, scores))
    assert abs(value - roc_auc_score(labels, scores)) <= bound + 1e-12


@settings(max_examples=40, deadline=None)
@given(LOG_ODDS, st.integers(1, 3))
def test_histograms_of_sites_add_up_to_the_histogram_of_all(scores, at):
    labels = labels_for(scores)
    parts = [histogram(labels[part], scores[part]) for part in (slice(None, at), slice(at, None))]
    whole = histogram(labels, scores)
    for index in (0, 1):
        np.testing.assert_array_equal(parts[0][index] + parts[1][index], whole[index])


@settings(max_examples=40, deadline=None)
@given(LOG_ODDS)
def test_swapping_labels_and_reversing_bins_changes_nothing(scores):
    positive, negative = histogram(labels_for(scores), scores)
    assert auroc_from_histograms(negative[::-1], positive[::-1]) == pytest.approx(
        auroc_from_histograms(positive, negative), abs=1e-12
    )


def test_variance_from_bins_is_delongs_where_bins_hide_nothing():
    scores = np.array([-3.0, -1.0, -1.0, 0.0, 0.5, 0.5, 2.0, 4.0, 9.0])
    labels = np.array([0, 0, 1, 0, 1, 0, 1, 0, 1])
    value, variance, bound = auroc_from_histograms(*histogram(labels, scores))
    assert (value, variance) == pytest.approx(delong(labels, scores), rel=1e-12)
    assert bound == pytest.approx((1 + 1) / 2 / 20)


@pytest.mark.parametrize("scale", [0.3, 1.0, 5.0, 15.0])
def test_little_is_lost_whether_the_network_is_timid_or_over_confident(scale):
    rng = np.random.default_rng(5)
    labels = (rng.random(4000) < 0.15).astype(int)
    scores = scale * (1.5 * (labels + rng.normal(size=4000)) - 2.5)
    exact, exact_variance = delong(labels, scores)
    value, variance, bound = auroc_from_histograms(*histogram(labels, scores))
    assert abs(value - exact) < 3e-4
    assert bound < 0.02
    assert variance == pytest.approx(exact_variance, rel=0.01)


def test_absent_class_has_no_auroc():
    assert auroc_from_histograms(np.zeros(N_BINS, int), np.ones(N_BINS, int)) is None


@pytest.mark.parametrize(("positive", "negative"), [([1, -1], [1, 1]), ([1, 1], [1, 1, 1]), ([[1]], [[1]])])
def test_impossible_histograms_are_refused(positive, negative):
    with pytest.raises(EvaluationError):
        auroc_from_histograms(np.array(positive), np.array(negative))


@pytest.mark.parametrize(("labels", "scores"), [([0, 1], [0.0, float("nan")]), ([0, 1], [0.0])])
def test_unusable_rows_are_refused(labels, scores):
    with pytest.raises(EvaluationError):
        histogram(np.array(labels), np.array(scores))
