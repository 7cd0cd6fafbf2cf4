"""DeLong's AUROC and variance against independent references."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from evaluation.delong import delong
from evaluation.metrics import auroc_estimate, n_band
from protocol.errors import EvaluationError

CASES = st.lists(st.tuples(st.booleans(), st.integers(-6, 6)), min_size=2, max_size=60)


def both_classes(cases: list[tuple[bool, int]]) -> tuple[np.ndarray, np.ndarray] | None:
    labels, scores = np.array([label for label, _ in cases]), np.array([score for _, score in cases], dtype=float)
    return (labels, scores) if 0 < labels.sum() < len(labels) else None


def delong_by_definition(labels: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """DeLong 1988, equation by equation, over all pairs."""
    x, y = scores[labels == 1], scores[labels == 0]
    psi = (x[:, None] > y[None, :]) + 0.5 * (x[:, None] == y[None, :])
    v10, v01 = psi.mean(axis=1), psi.mean(axis=0)
    return psi.mean(), v10.var(ddof=1) / len(x) + v01.var(ddof=1) / len(y)


@settings(max_examples=60, deadline=None)
@given(CASES)
def test_value_is_that_of_scikit_learn_ties_included(cases):
    if drawn := both_classes(cases):
        found = delong(*drawn)
        assert found is not None
        assert found[0] == pytest.approx(roc_auc_score(*drawn), abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_variance_is_that_of_the_definition(ties):
    rng = np.random.default_rng(3)
    labels = (rng.random(150) < 0.3).astype(int)
    scores = rng.normal(size=150) + labels
    scores = np.round(scores * 2) if ties else scores
    assert delong(labels, scores) == pytest.approx(delong_by_definition(labels, scores), rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(CASES, st.randoms(use_true_random=False))
def test_order_of_rows_changes_nothing(cases, random):
    if drawn := both_classes(cases):
        shuffled = cases[:]
        random.shuffle(shuffled)
        assert delong(*both_classes(shuffled)) == pytest.approx(delong(*drawn), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(CASES)
def test_swapping_labels_and_negating_scores_changes_nothing(cases):
    if drawn := both_classes(cases):
        labels, scores = drawn
        assert delong(~labels, -scores) == pytest.approx(delong(labels, scores), abs=1e-12)


def test_absent_class_has_no_auroc():
    assert delong(np.zeros(5, int), np.arange(5.0)) is None
    assert delong(np.array([], int), np.array([])) is None


def test_single_positive_has_the_largest_variance_its_class_can_have():
    value, variance = delong(np.array([1, 0, 0, 0, 0]), np.array([2.5, 1.0, 2.0, 3.0, 4.0]))
    assert value == 0.5
    assert variance == pytest.approx(0.25 + np.var([1, 1, 0, 0], ddof=1) / 4)


@pytest.mark.parametrize(
    ("labels", "scores"),
    [([0, 2], [0.1, 0.2]), ([0, 1], [0.1, float("nan")]), ([0, 1, 1], [0.1, 0.2]), ([[0, 1]], [[0.1, 0.2]])],
)
def test_unusable_rows_are_refused(labels, scores):
    with pytest.raises(EvaluationError):
        delong(np.array(labels), np.array(scores))


@pytest.mark.parametrize(
    ("auroc", "n_positive", "n_negative"), [(0.75, 12, 60), (0.85, 30, 30), (0.95, 30, 300), (0.99, 30, 300), (0.99, 100, 100)]
)
def test_interval_covers_the_truth_about_95_times_in_100(auroc, n_positive, n_negative):
    rng, shift = np.random.default_rng(11), np.sqrt(2) * norm.ppf(auroc)
    labels = np.r_[np.ones(n_positive, int), np.zeros(n_negative, int)]
    hits = 0
    for _ in range(800):
        value, variance = delong(labels, rng.normal(size=len(labels)) + shift * labels)
        estimate = auroc_estimate(value, variance, n_positive, n_negative)
        hits += estimate.lo <= auroc <= estimate.hi
    assert 0.93 <= hits / 800 <= 0.995


@pytest.mark.parametrize("n", [10, 30, 200])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_interval_of_a_perfect_ranking_is_neither_empty_nor_absurd(value, n):
    estimate = auroc_estimate(value, 0.0, n, n)
    assert estimate.method == "rows, Newcombe score"
    assert estimate.value == value
    width = estimate.hi - estimate.lo
    assert 0.2 / n < width < 4.0 / n
    assert value in (estimate.lo, estimate.hi)


def test_constant_scores_give_one_half_with_an_interval():
    labels = np.arange(60) % 2
    estimate = auroc_estimate(*delong(labels, np.zeros(60)), 30, 30)
    assert estimate.value == 0.5
    assert 0.3 < estimate.lo < 0.4
    assert estimate.hi == pytest.approx(1 - estimate.lo)


@pytest.mark.parametrize(
    ("n_positive", "status", "band"),
    [(9, "not_estimable", "<10"), (10, "wide", "10-29"), (99, "wide", "30-99"), (100, "ok", "100-999"), (1000, "ok", "1000+")],
)
def test_status_follows_the_smaller_class(n_positive, status, band):
    estimate = auroc_estimate(0.8, 0.001, n_positive, 5000)
    assert (estimate.status, estimate.n_band) == (status, band)
    assert (estimate.value is None) == (status == "not_estimable")
    assert set(estimate.to_json()) - {"why"} == {"value", "lo", "hi", "method", "n_band", "status"}
    assert estimate.to_json().get("why") == ("too_few_images" if estimate.value is None else None)


def test_json_holds_the_binning_bound_where_there_is_one():
    assert auroc_estimate(0.8, 0.001, 50, 50, basis="pooled histograms", binning_bound=0.0012345678).to_json() == {
        "value": 0.8,
        "lo": pytest.approx(0.7302, abs=1e-3),
        "hi": pytest.approx(0.8553, abs=1e-3),
        "method": "pooled histograms, logit-DeLong",
        "n_band": "30-99",
        "binning_bound": 0.001235,
        "status": "wide",
    }


@pytest.mark.parametrize(
    ("value", "variance", "n"), [(1.2, 0.1, 50), (float("nan"), 0.1, 50), (0.8, -1.0, 50), (0.8, None, 50), (0.8, 0.1, -1)]
)
def test_impossible_estimates_are_refused(value, variance, n):
    with pytest.raises(EvaluationError):
        auroc_estimate(value, variance, n, 50)


def test_bands_have_no_gaps():
    assert [n_band(n) for n in (0, 9, 10, 29, 30, 99, 100, 999, 1000)] == [
        "<10", "<10", "10-29", "10-29", "30-99", "30-99", "100-999", "100-999", "1000+",
    ]  # fmt: skip
