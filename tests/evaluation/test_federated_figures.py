"""Pooled, within sites, worst site, spread."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from evaluation.federated import pooled, site_auroc, stratified, worst_site
from evaluation.heterogeneity import spread
from evaluation.measured import Measured, macro
from evaluation.scoring import class_scores
from protocol.errors import EvaluationError
from protocol.messages import Scores
from tests.evaluation.made_up_runs import ADDRESS, draw_scores


def of_rows(labels: np.ndarray, log_odds: np.ndarray) -> Scores:
    logs = np.stack([np.zeros_like(log_odds), log_odds], axis=1)
    return Scores(ADDRESS, "federated", "test", len(labels), 0.5, 0.5, class_scores(labels, logs))


def test_pooled_figure_is_that_of_one_cohort_within_its_bound():
    rng = np.random.default_rng(4)
    labels = (rng.random(500) < 0.3).astype(int)
    log_odds = rng.normal(size=500) + labels
    parts = np.split(np.arange(500), [40, 300])
    found = pooled([of_rows(labels[part], log_odds[part]) for part in parts])
    assert (found.n_positive, found.n_negative) == (labels.sum(), 500 - labels.sum())
    assert abs(found.value - roc_auc_score(labels, log_odds)) <= found.binning_bound < 0.01
    assert found == pooled([of_rows(labels[part], log_odds[part]) for part in reversed(parts)])


def test_pooling_rewards_recognising_the_site_and_stratifying_does_not():
    rng = np.random.default_rng(8)
    sites = []
    for prevalence, offset in ((0.1, -4.0), (0.6, 4.0)):
        labels = (rng.random(400) < prevalence).astype(int)
        sites.append(of_rows(labels, rng.normal(size=400) + offset))
    assert pooled(sites).value > 0.7
    assert stratified(sites).value == pytest.approx(0.5, abs=0.06)


def test_stratified_weighs_pairs_and_leaves_out_sites_too_small_to_estimate():
    large, small, tiny = draw_scores(1, 300, 1.0), draw_scores(2, 60, 1.0), draw_scores(3, 12, 1.0)
    parts = [one.classes[0] for one in (large, small)]
    pairs = np.array([one.n_positive * one.n_negative for one in parts], dtype=float)
    weights = pairs / pairs.sum()
    found = stratified([large, small, tiny])
    assert found.value == pytest.approx(weights @ [one.auroc for one in parts])
    assert found.variance == pytest.approx(weights**2 @ [one.auroc_variance for one in parts])


def test_macro_mean_never_claims_more_precision_than_perfectly_correlated_classes():
    classes = [Measured(0.8, 0.0004, 50, 100), Measured(0.9, 0.0009, 60, 90)]
    found = macro(classes)
    assert found.value == pytest.approx(0.85)
    assert found.variance == pytest.approx(((0.02 + 0.03) / 2) ** 2)
    assert found.n_positive == 50


def test_macro_says_which_part_of_the_classes_it_is_over():
    found = macro([Measured(0.8, 0.001, 50, 100), Measured(None, None, 0, 150), Measured(0.7, 0.001, 40, 110)])
    assert not found.complete
    assert "mean over 2 of 3 classes" in found.basis
    assert macro([Measured(None, None, 0, 9), Measured(None, None, 0, 9)]).value is None


def test_worst_site_is_the_lowest_that_can_be_estimated():
    sites = {"a": draw_scores(1, 300, 1.5), "b": draw_scores(2, 300, 0.6), "tiny": draw_scores(3, 12, -2.0)}
    name, found = worst_site(sites)
    assert (name, found) == ("b", site_auroc(sites["b"]))
    assert worst_site({"tiny": sites["tiny"]}) is None


def test_spread_matches_a_worked_example_of_dersimonian_and_laird():
    """logit AUROC 0, 1, 2 with variance 0.25 each: Q = 8, tau^2 = (8 - 2) / (12 - 48 / 12) = 0.75."""
    sites = []
    for centre in (0.0, 1.0, 2.0):
        value = 1 / (1 + np.exp(-centre))
        sites.append(Measured(value, 0.25 * (value * (1 - value)) ** 2, 50, 50))
    found = spread(sites)
    assert found.q == pytest.approx(8.0)
    assert found.tau == pytest.approx(0.75**0.5)
    assert found.p_value == pytest.approx(np.exp(-4.0))  # chi-squared with 2 df


def test_spread_of_alike_sites_is_seldom_called_real():
    found = [spread([site_auroc(draw_scores(10 * run + site, 120, 1.0)) for site in range(4)]) for run in range(60)]
    assert np.mean([one.p_value < 0.05 for one in found]) < 0.15


def test_spread_survives_perfect_sites_and_needs_two():
    perfect, good = Measured(1.0, 0.0, 20, 20), Measured(0.8, 0.003, 40, 40)
    found = spread([perfect, good])
    assert np.isfinite([found.tau, found.q, found.p_value]).all()
    assert spread([good]) is None
    assert spread([good, Measured(None, None, 0, 40)]) is None


def test_sites_that_scored_unlike_classes_are_refused():
    with pytest.raises(EvaluationError):
        pooled([draw_scores(1, 50, 1.0), draw_scores(2, 50, 1.0, n_classes=3)])
    with pytest.raises(EvaluationError):
        pooled([])
