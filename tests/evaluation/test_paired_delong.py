"""Two models on the same rows: DeLong's covariance against its definition, against simulation, and where it collapses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from evaluation.delong import delong, paired_delong
from protocol.errors import EvaluationError

CASES = st.lists(st.tuples(st.booleans(), st.integers(-6, 6), st.integers(-6, 6)), min_size=4, max_size=50)


def by_definition(labels: np.ndarray, *scores: np.ndarray) -> np.ndarray:
    """DeLong 1988: structural components over all pairs, S10 / m + S01 / n."""
    v10, v01 = [], []
    for one in scores:
        x, y = one[labels == 1], one[labels == 0]
        psi = (x[:, None] > y[None, :]) + 0.5 * (x[:, None] == y[None, :])
        v10.append(psi.mean(axis=1))
        v01.append(psi.mean(axis=0))
    return np.cov(v10) / len(v10[0]) + np.cov(v01) / len(v01[0])


def two_models(rng: np.random.Generator, n: tuple[int, int], aurocs: tuple[float, float], rho: float) -> tuple[np.ndarray, ...]:
    """Binormal scores (n,) of two models with these true AUROCs, correlated by `rho` within each class."""
    labels = np.r_[np.ones(n[0], int), np.zeros(n[1], int)]
    noise = rng.normal(size=(len(labels), 2)) @ np.linalg.cholesky([[1.0, rho], [rho, 1.0]]).T
    scores = noise + labels[:, None] * np.sqrt(2) * norm.ppf(aurocs)
    return labels, scores[:, 0], scores[:, 1]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("rho", [-0.5, 0.0, 0.9])
def test_covariance_is_that_of_the_definition(ties, rho):
    labels, first, second = two_models(np.random.default_rng(5), (40, 110), (0.8, 0.7), rho)
    if ties:
        first, second = np.round(first * 2), np.round(second)
    a, b, covariance = paired_delong(labels, first, second)
    assert covariance == pytest.approx(by_definition(labels, first, second), rel=1e-10)
    assert (a, b) == (delong(labels, first)[0], delong(labels, second)[0])


@settings(max_examples=60, deadline=None)
@given(CASES)
def test_diagonal_is_exactly_the_unpaired_variance_and_no_difference_varies_less_than_not_at_all(cases):
    labels, first, second = (np.array(column) for column in zip(*cases, strict=True))
    if not 0 < labels.sum() < len(labels):
        assert paired_delong(labels, first, second) is None
        return
    a, b, covariance = paired_delong(labels, first, second)
    assert ((a, covariance[0, 0]), (b, covariance[1, 1])) == (delong(labels, first), delong(labels, second))
    assert covariance[0, 1] == covariance[1, 0]
    assert covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1] >= -1e-12


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([np.exp, np.arctan, lambda x: 3 * x - 1]))
def test_models_that_rank_alike_differ_by_exactly_nothing(seed, monotone):
    labels, first, _ = two_models(np.random.default_rng(seed), (12, 30), (0.8, 0.8), 0.0)
    a, b, covariance = paired_delong(labels, first, monotone(first))
    assert a == b
    assert covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1] == 0.0
    assert np.isfinite(covariance).all()


def test_independent_models_have_a_covariance_near_zero_and_alike_ones_near_their_variance():
    rng = np.random.default_rng(2)
    for rho, share in ((0.0, 0.0), (0.95, 0.94)):
        _, _, covariance = paired_delong(*two_models(rng, (2000, 3000), (0.8, 0.8), rho))
        correlation = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
        assert correlation == pytest.approx(share, abs=0.05)


def test_variance_of_the_difference_is_the_one_found_by_repeating_the_study():
    rng, differences, claimed = np.random.default_rng(8), [], []
    for _ in range(600):
        a, b, covariance = paired_delong(*two_models(rng, (40, 80), (0.85, 0.75), 0.9))
        differences.append(a - b)
        claimed.append(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert np.mean(claimed) == pytest.approx(np.var(differences, ddof=1), rel=0.15)


def test_single_case_of_a_class_adds_nothing_to_the_covariance():
    labels, first, second = np.array([1, 0, 0, 0, 0]), np.array([2.5, 1, 2, 3, 4]), np.array([4.5, 1, 2, 5, 4])
    _, _, covariance = paired_delong(labels, first, second)
    assert covariance[0, 1] == pytest.approx(np.cov([0, 0, 1, 1], [0, 0, 1, 0])[0, 1] / 4)


@pytest.mark.parametrize("second", [[0.1, float("nan"), 0.2], [0.1, 0.2], [[0.1, 0.2, 0.3]]])
def test_rows_that_do_not_pair_are_refused(second):
    with pytest.raises(EvaluationError):
        paired_delong(np.array([0, 1, 1]), np.array([0.1, 0.2, 0.3]), np.array(second))
