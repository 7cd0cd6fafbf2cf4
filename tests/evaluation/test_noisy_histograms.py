"""Votes of patients, noise on every bin, and how far the AUROC from noised counts can be trusted."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import norm

from evaluation.federated import pooled, site_auroc, stratified, worst_site
from evaluation.measured import Measured
from evaluation.metrics import Estimate
from evaluation.noisy_histograms import EDGES, N_BINS, count_votes, noise_variance, noisy_auroc
from protocol.errors import EvaluationError
from protocol.messages import NoisyHistograms, PrivateScores
from tests.evaluation.made_up_runs import ADDRESS, RECEIPT, draw_scores


def first(k: int) -> int:
    assert k > 0
    return 0


def log_probabilities(odds: list[float]) -> np.ndarray:
    """(n, 2) logits whose difference is `odds`."""
    return np.stack([np.zeros(len(odds)), np.array(odds)], axis=1)


def test_each_patient_has_one_vote_whatever_their_number_of_images():
    labels, patients = np.array([1, 1, 1, 0, 0]), np.array([7, 7, 7, 2, 9])
    asked: list[int] = []

    def last(k: int) -> int:
        asked.append(k)
        return k - 1

    ((positive, negative),) = count_votes(labels, log_probabilities([-9.0, 0.0, 9.0, -9.0, 0.1]), patients, last)
    assert sorted(asked) == [1, 1, 3]
    assert (positive.sum(), negative.sum()) == (1, 2)
    assert positive[N_BINS - 1] == 1  # the last of the three images
    assert (negative[0], negative[np.searchsorted(EDGES, 0.1)]) == (1, 1)
    assert positive.dtype == negative.dtype == np.int64


def test_a_patient_more_moves_one_count_by_one():
    rng = np.random.default_rng(1)
    labels, logs, patients = rng.integers(0, 2, 40), rng.normal(size=(40, 2)), np.arange(40) // 2
    before = np.concatenate(count_votes(labels, logs, patients, first)[0])
    after = np.concatenate(count_votes(labels[2:], logs[2:], patients[2:], first)[0])
    assert np.abs(before - after).sum() == 1


def test_with_more_classes_the_same_image_votes_for_every_class():
    logs = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]))
    pairs = count_votes(np.array([0, 2]), logs, np.array([5, 5]), first)
    assert [(int(p.sum()), int(n.sum())) for p, n in pairs] == [(1, 0), (0, 1), (0, 1)]


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_a_number_still_votes_and_tells_nothing_by_an_error(broken: float):
    logs = np.array([[broken, broken], [0.0, 1.0]])
    ((positive, negative),) = count_votes(np.array([1, 0]), logs, np.array([0, 1]), first)
    assert (positive.sum(), negative.sum()) == (1, 1)
    assert positive[np.searchsorted(EDGES, 0.0, side="right")] == 1


def test_an_empty_part_gives_empty_counts():
    ((positive, negative),) = count_votes(np.array([], dtype=int), np.empty((0, 2)), np.array([], dtype=int), first)
    assert positive.tolist() == negative.tolist() == [0] * N_BINS


def test_rows_that_do_not_belong_together_are_refused():
    with pytest.raises(EvaluationError, match="integer code"):
        count_votes(np.array([0, 1]), np.zeros((2, 2)), np.array([1]), first)
    with pytest.raises(EvaluationError, match="do not belong"):
        count_votes(np.array([0]), np.zeros((2, 2)), np.array([1]), first)
    with pytest.raises(EvaluationError, match="grid"):
        noisy_auroc(np.zeros(5), np.zeros(5), 1.0)
    with pytest.raises(EvaluationError, match="scale"):
        noise_variance(0.0)


def discrete_laplace(rng: np.random.Generator, scale: float, shape: tuple[int, ...]) -> np.ndarray:
    q = -math.expm1(-1.0 / scale)
    return rng.geometric(q, shape) - rng.geometric(q, shape)


@pytest.mark.parametrize("scale", [0.25, 1.0, 1 / 0.3])
def test_the_variance_is_that_of_discrete_laplace_noise(scale: float):
    drawn = discrete_laplace(np.random.default_rng(3), scale, (400_000,))
    assert noise_variance(scale) == pytest.approx(drawn.var(), rel=0.03)


def test_without_noise_it_is_the_auroc_of_the_counts():
    from evaluation.histograms import auroc_from_histograms

    rng = np.random.default_rng(4)
    positive, negative = rng.multinomial(80, np.full(N_BINS, 1 / N_BINS)), rng.multinomial(90, np.full(N_BINS, 1 / N_BINS))
    exact, ours = auroc_from_histograms(positive, negative), noisy_auroc(positive, negative, 0.0)
    assert exact is not None
    assert ours is not None
    assert (ours.value, ours.sampling, ours.bound) == pytest.approx(exact)
    assert ours.noise == 0.0


def bins_of(auroc: float, middle: float = -0.4) -> tuple[np.ndarray, np.ndarray, float]:
    """Chances of the bins for positives and negatives with normal scores of spread 1, and the AUROC of the binned scores."""
    shift = float(norm.ppf(auroc)) / math.sqrt(2)
    edges = np.concatenate([[-np.inf], EDGES, [np.inf]])
    p, n = np.diff(norm.cdf(edges, middle + shift)), np.diff(norm.cdf(edges, middle - shift))
    return p, n, float(p @ (np.cumsum(n) - n / 2))


@pytest.mark.parametrize("spread", [0.3, 1.2, 2.4])
def test_few_bins_lose_little(spread: float):
    shift = float(norm.ppf(0.8)) / math.sqrt(2) * spread
    edges = np.concatenate([[-np.inf], EDGES, [np.inf]])
    p, n = np.diff(norm.cdf(edges, shift, spread)), np.diff(norm.cdf(edges, -shift, spread))
    assert p @ (np.cumsum(n) - n / 2) == pytest.approx(0.8, abs=0.02)


def test_a_class_without_patients_by_its_estimate_has_no_auroc():
    assert noisy_auroc(np.zeros(N_BINS), np.ones(N_BINS), 1.0) is None
    assert noisy_auroc(np.full(N_BINS, -1), np.ones(N_BINS), 1.0) is None


@pytest.mark.parametrize("epsilon", [0.3, 1.0, 4.0])
def test_the_noise_part_is_what_noise_does_to_fixed_counts(epsilon: float):
    rng, (p, n, _) = np.random.default_rng(5), bins_of(0.8)
    positive, negative = np.round(300 * p).astype(int), np.round(500 * n).astype(int)
    found = [
        noisy_auroc(
            positive + discrete_laplace(rng, 1 / epsilon, (N_BINS,)),
            negative + discrete_laplace(rng, 1 / epsilon, (N_BINS,)),
            noise_variance(1 / epsilon),
        )
        for _ in range(3000)
    ]
    values = np.array([one.value for one in found if one])
    assert np.mean([one.noise for one in found if one]) == pytest.approx(values.var(), rel=0.12)
    exact = noisy_auroc(positive, negative, 0.0)
    assert exact is not None
    assert values.mean() == pytest.approx(exact.value, abs=0.005)


def noised_scores(rng: np.random.Generator, epsilon: float, n: int, share: float, auroc: float) -> tuple[PrivateScores, float]:
    """A site of `n` patients as it is sent, and the AUROC that the bins leave of the true one."""
    p, q, truth = bins_of(auroc)
    n_positive = int(rng.binomial(n, share))
    positive = rng.multinomial(n_positive, p) + discrete_laplace(rng, 1 / epsilon, (N_BINS,))
    negative = rng.multinomial(n - n_positive, q) + discrete_laplace(rng, 1 / epsilon, (N_BINS,))
    histograms = NoisyHistograms(tuple(positive.tolist()), tuple(negative.tolist()))
    return PrivateScores(ADDRESS, "federated", "test", epsilon, 1 / epsilon, (histograms,), RECEIPT), truth


def coverage(estimates: list[Estimate], truth: float) -> tuple[float, float]:
    """How often a figure is shown, and how often the interval of a shown one holds the truth."""
    shown = [one for one in estimates if one.lo is not None and one.hi is not None]
    return len(shown) / len(estimates), float(np.mean([one.lo <= truth <= one.hi for one in shown])) if shown else math.nan


@pytest.mark.parametrize("auroc", [0.65, 0.8, 0.92])
@pytest.mark.parametrize(("epsilon", "n"), [(0.3, 500), (1.0, 100), (1.0, 500), (4.0, 100), (4.0, 500)])
def test_the_interval_of_a_site_holds_the_truth(auroc: float, epsilon: float, n: int):
    rng = np.random.default_rng(6)
    drawn = [noised_scores(rng, epsilon, n, 0.4, auroc) for _ in range(600)]
    shown, covered = coverage([site_auroc(scores).estimate() for scores, _ in drawn], drawn[0][1])
    assert shown > 0.5
    assert 0.90 <= covered <= 0.99


def test_a_site_too_small_for_the_noise_has_no_figure():
    rng = np.random.default_rng(7)
    found = [site_auroc(noised_scores(rng, 0.3, 100, 0.4, 0.8)[0]).estimate() for _ in range(600)]
    assert np.mean([one.value is None for one in found]) > 0.97
    assert {one.why for one in found if one.value is None} == {"too_much_noise"}


@pytest.mark.parametrize(("epsilon", "n"), [(0.3, 500), (1.0, 100), (4.0, 100)])
@pytest.mark.parametrize("figure", [pooled, stratified])
def test_the_intervals_over_all_sites_hold_the_truth(figure: Callable[..., Measured], epsilon: float, n: int):
    rng = np.random.default_rng(8)
    found, truth = [], 0.0
    for _ in range(300):
        sites = [noised_scores(rng, epsilon, n, 0.4, 0.8) for _ in range(5)]
        truth = sites[0][1]
        found.append(figure([scores for scores, _ in sites]).estimate())
    shown, covered = coverage(found, truth)
    assert shown > 0.95
    assert 0.90 <= covered <= 0.99
    values = np.array([one.value for one in found if one.value is not None])
    assert values.mean() == pytest.approx(truth, abs=0.02)


def test_noise_of_more_sites_adds_up():
    rng = np.random.default_rng(9)
    sites = [noised_scores(rng, 1.0, 300, 0.4, 0.8)[0] for _ in range(4)]
    one, all_four = pooled(sites[:1]), pooled(sites)
    assert one.noise is not None
    assert all_four.noise is not None
    assert all_four.noise.count_sd == pytest.approx(2 * one.noise.count_sd)
    assert (one.basis, all_four.n_positive) == (
        "pooled noised histograms",
        sum(sum(site.classes[0].positive) for site in sites),
    )


def test_the_lowest_site_is_one_that_noise_leaves_a_figure():
    rng = np.random.default_rng(10)
    sites = {
        "large": noised_scores(rng, 1.0, 800, 0.4, 0.9)[0],
        "lower": noised_scores(rng, 1.0, 800, 0.4, 0.7)[0],
        "tiny": noised_scores(rng, 1.0, 20, 0.4, 0.55)[0],
    }
    worst = worst_site(sites)
    assert worst is not None
    assert worst[0] == "lower"


def test_exact_and_noised_scores_are_never_added():
    with pytest.raises(EvaluationError, match="of one kind"):
        pooled([noised_scores(np.random.default_rng(0), 1.0, 50, 0.4, 0.8)[0], draw_scores(1, 50, 1.0)])
