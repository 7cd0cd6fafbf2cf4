"""A hospital's own map of probabilities and its own threshold: what they mend, and when they leave everything as it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from evaluation.recalibration import LEAST_POSITIVES, LEAST_ROWS, Recalibration, fit, own_thresholds
from protocol.errors import EvaluationError


def logs(odds: np.ndarray) -> np.ndarray:
    """Log-probabilities (n, 2) from log-odds (n,)."""
    return np.column_stack([-np.logaddexp(0.0, odds), -np.logaddexp(0.0, -odds)])


def draw(seed: int, n: int, shift: float = 0.0, slope: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and log-odds from which the truth is slope * odds + shift."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(0.0, 1.5, n)
    return (rng.random(n) < expit(slope * odds + shift)).astype(np.int64), odds


def test_with_many_rows_it_is_the_logistic_regression_of_the_labels_on_the_log_odds() -> None:
    labels, odds = draw(1, 20_000, shift=-1.0, slope=0.5)
    found = fit(labels, logs(odds), "platt")
    oracle = LogisticRegression(C=np.inf).fit(odds[:, None], labels)
    assert found.slope == pytest.approx(float(oracle.coef_[0, 0]), abs=2e-3)
    assert found.offsets[1] == pytest.approx(float(oracle.intercept_[0]), abs=2e-3)


def test_the_intercept_alone_mends_the_level_and_keeps_the_spread() -> None:
    labels, odds = draw(2, 20_000, shift=1.2)
    found = fit(labels, logs(odds), "intercept")
    assert found.slope == 1.0
    assert found.offsets[1] == pytest.approx(1.2, abs=0.1)
    assert np.exp(found(logs(odds)))[:, 1].mean() == pytest.approx(labels.mean(), abs=2e-3)


def test_three_classes_get_the_level_of_each() -> None:
    rng = np.random.default_rng(3)
    scores = rng.normal(0.0, 1.0, (30_000, 3))
    truth = scores + np.array([0.0, 1.0, -1.0])
    chance = np.exp(truth) / np.exp(truth).sum(axis=1, keepdims=True)
    labels = (rng.random((30_000, 1)) > np.cumsum(chance, axis=1)).sum(axis=1)
    found = fit(labels, scores - np.logaddexp.reduce(scores, axis=1, keepdims=True), "intercept")
    assert np.allclose(found.offsets, (0.0, 1.0, -1.0), atol=0.1)


@settings(max_examples=40)
@given(st.integers(0, 1000), st.integers(12, 200), st.floats(-3.0, 3.0), st.floats(-1.0, 3.0))
def test_the_order_of_a_hospital_s_patients_stays_and_probabilities_sum_to_one(
    seed: int, n: int, shift: float, slope: float
) -> None:
    labels, odds = draw(seed, n, shift, slope)
    mapped = fit(labels, logs(odds), "platt")(logs(odds))
    assert np.allclose(np.exp(mapped).sum(axis=1), 1.0)
    moved = mapped[:, 1] - mapped[:, 0]
    assert (np.diff(moved[np.argsort(odds)]) >= -1e-9).all()
    if 0 < labels.sum() < n:
        assert roc_auc_score(labels, moved) == pytest.approx(roc_auc_score(labels, odds), abs=1e-6)


def test_rows_that_the_classes_part_do_not_drive_it_to_infinity() -> None:
    odds = np.linspace(-1.0, 1.0, 20)
    found = fit((odds > 0).astype(np.int64), logs(odds), "platt")
    assert 1.0 < found.slope < 5.0


def test_few_rows_or_one_class_change_nothing() -> None:
    labels, odds = draw(4, LEAST_ROWS - 1)
    assert fit(labels, logs(odds), "platt") == Recalibration()
    odds = np.linspace(-1.0, 1.0, 50)
    assert fit(np.zeros(50, dtype=np.int64), logs(odds), "platt") == Recalibration()
    assert Recalibration()(logs(odds)) is not None
    with pytest.raises(EvaluationError, match="nothing to recalibrate"):
        fit(np.zeros(50, dtype=np.int64), np.full((50, 2), np.nan), "platt")


def test_over_draws_it_mends_a_shifted_hospital_and_hardly_hurts_one_that_needs_none() -> None:
    def gain(shift: float, n: int) -> float:
        """Mean test loss before minus after, over hospitals of n validation rows."""
        gains = []
        for seed in range(200):
            own = fit(*_rows(seed, n, shift), "platt")
            labels, rows = _rows(10_000 + seed, 1000, shift)
            index = np.arange(1000)
            gains.append((own(rows)[index, labels] - rows[index, labels]).mean())
        return float(np.mean(gains))

    assert gain(1.5, 50) > 0.1
    assert gain(0.0, 50) > -0.02


def _rows(seed: int, n: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    labels, odds = draw(seed, n, shift)
    return labels, logs(odds)


# ---------------------------------------------------------------------------------------------------------------- thresholds


@pytest.mark.parametrize("sensitivity", [0.5, 0.9, 0.99])
def test_the_threshold_is_the_highest_that_calls_so_many_positives(sensitivity: float) -> None:
    labels, odds = draw(5, 400)
    (own,) = own_thresholds(labels, logs(odds), sensitivity)
    assert own is not None
    positives = odds[labels == 1]
    assert (positives >= own - 1e-9).mean() >= sensitivity
    higher = positives[positives > own + 1e-9].min()
    assert (positives >= higher).mean() < sensitivity


def test_each_class_has_a_threshold_and_few_positives_give_none() -> None:
    labels, odds = draw(6, 200)
    few = np.zeros(200, dtype=np.int64)
    few[: LEAST_POSITIVES - 1] = 1
    assert own_thresholds(few, logs(odds), 0.9) == (None,)
    assert own_thresholds(np.ones(200, dtype=np.int64), logs(odds), 0.9) == (None,)
    rows = np.log(np.random.default_rng(0).dirichlet([1.0, 1.0, 1.0], 200))
    assert len(own_thresholds(labels, rows, 0.9)) == 3
