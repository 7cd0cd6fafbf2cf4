"""The bound itself: right in at least 95% of runs on a mechanism whose epsilon is known exactly, and worth having."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from privacy.audit.one_run import ceiling, epsilon_from_guesses, lower_bound, p_value


@pytest.mark.parametrize(("epsilon", "least"), [(0.5, 0.1), (2.0, 1.3), (4.0, 2.3)])
def test_the_bound_holds_on_randomised_response_and_is_not_vacuous(epsilon: float, least: float) -> None:
    """Randomised response is the mechanism for which theorem 5.2 is tight: a coin is told with e^eps / (1 + e^eps)."""
    rng = np.random.default_rng(1)
    bounds = []
    for _ in range(400):
        included = rng.random(600) < 0.5
        truthful = rng.random(600) < 1.0 / (1.0 + math.exp(-epsilon))
        scores = np.where(truthful, included, ~included) + rng.random(600) * 0.1  # ties are broken at random
        bounds.append(lower_bound(included, scores, 0.0).epsilon)
    assert np.mean(np.array(bounds) <= epsilon) >= 0.95
    assert np.mean(bounds) > least


def test_one_level_of_guessing_errs_as_often_as_it_says_and_not_much_less() -> None:
    """Without abstention and correction the p-value is the binomial tail: it must be exact, not merely careful."""
    rng, epsilon, guesses = np.random.default_rng(2), 1.0, 200
    right = rng.binomial(guesses, 1.0 / (1.0 + math.exp(-epsilon)), 4000)
    chances = {v: p_value(guesses, guesses, int(v), epsilon, 0.0) for v in np.unique(right)}
    errs = np.mean([chances[v] <= 0.05 for v in right])
    assert 0.025 < errs <= 0.055


def test_a_mechanism_that_fails_with_delta_is_not_refuted_below_its_epsilon() -> None:
    """With chance delta the coin is published, otherwise told by randomised response: (epsilon, delta)-DP."""
    rng, epsilon, delta, m = np.random.default_rng(3), 1.0, 0.05, 600
    refuted, without_correction = 0, 0
    for _ in range(400):
        included = rng.random(m) < 0.5
        told = np.where(rng.random(m) < 1.0 / (1.0 + math.exp(-epsilon)), included, ~included)
        published = rng.random(m) < delta
        scores = np.where(published, np.where(included, 9.0, -9.0), told + rng.random(m) * 0.1)
        without_correction += lower_bound(included, scores, 0.0).epsilon > epsilon
        refuted += lower_bound(included, scores, delta).epsilon > epsilon
    assert refuted <= 20
    assert without_correction > 200


def test_the_correction_for_delta_is_that_of_the_theorem() -> None:
    m, guesses, right, epsilon, delta = 1000, 40, 33, 1.0, 1e-3
    tail = [float(stats.binom.sf(v - 1, guesses, 1 / (1 + math.exp(-epsilon)))) for v in range(right + 1)]
    correction = max((tail[right - i] - tail[right]) / i for i in range(1, right + 1))
    assert p_value(m, guesses, right, epsilon, delta) == pytest.approx(tail[right] + 2 * m * delta * correction)
    assert p_value(m, guesses, 0, epsilon, delta) == 1.0


def test_the_bound_grows_with_right_guesses_and_shrinks_with_delta() -> None:
    bounds = [epsilon_from_guesses(1000, 100, right, 1e-6, 0.01) for right in range(50, 101, 10)]
    assert bounds[0] == 0.0
    assert bounds == sorted(bounds)
    assert epsilon_from_guesses(1000, 100, 95, 1e-3, 0.01) < epsilon_from_guesses(1000, 100, 95, 0.0, 0.01)
    assert p_value(1000, 100, 95, epsilon_from_guesses(1000, 100, 95, 0.0, 0.01), 0.0) == pytest.approx(0.01, rel=1e-2)


def test_no_number_of_right_guesses_shows_more_than_the_ceiling() -> None:
    included = np.arange(1000) % 2 == 0
    perfect = lower_bound(included, included.astype(np.float64), 1e-6)
    assert perfect.epsilon == pytest.approx(ceiling(1000, 1e-6))
    assert perfect.right == perfect.guesses
    assert ceiling(100, 1e-6) < ceiling(1000, 1e-6) < ceiling(10_000, 1e-6)


def test_scores_that_are_all_equal_tell_nothing() -> None:
    included = np.random.default_rng(0).random(1000) < 0.5
    assert lower_bound(included, np.zeros(1000), 0.0).epsilon < 0.3
