"""One model against the hospital's own: paired where the hospital said how, cautious where not, three verdicts."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from evaluation.comparison import ALPHA, PAIRED, UNPAIRED, compare, compare_scores
from evaluation.delong import paired_delong
from evaluation.federated import site_auroc
from evaluation.intervals import difference_interval, paired_interval
from evaluation.measure import difference_variance
from evaluation.measured import Measured
from protocol.messages import Scores
from tests.evaluation.made_up_runs import draw_rows, draw_scores, scores_of
from tests.evaluation.test_paired_delong import two_models


def two_scored(
    seed: int, n: int, separations: tuple[float, float], n_classes: int = 2, own: float = 0.1
) -> tuple[Scores, Scores]:
    """A model and the hospital's own on the same images, with the covariance between them."""
    (labels, first), (_, second) = (
        draw_rows(seed, n, separation, n_classes=n_classes, model=model, own=own)
        for model, separation in enumerate(separations)
    )
    return scores_of(labels, first, second), scores_of(labels, second, kind="alone")


def without_covariance(scores: Scores) -> Scores:
    classes = tuple(msgspec.structs.replace(one, covariance_with_alone=None) for one in scores.classes)
    return msgspec.structs.replace(scores, classes=classes)


def test_difference_interval_adds_in_squares():
    value, lo, hi = difference_interval((0.9, 0.86, 0.93), (0.8, 0.74, 0.85))
    assert value == pytest.approx(0.1)
    assert lo == pytest.approx(0.1 - np.hypot(0.04, 0.05))
    assert hi == pytest.approx(0.1 + np.hypot(0.03, 0.06))


def test_paired_interval_is_symmetric_and_stays_a_difference_of_two_aurocs():
    value, lo, hi = paired_interval(0.9, 0.8, 0.0004)
    assert (value - lo, hi - value) == (pytest.approx(0.0392, abs=1e-4), pytest.approx(0.0392, abs=1e-4))
    assert paired_interval(0.9, 0.1, 0.09)[2] == 1.0
    assert paired_interval(0.1, 0.9, 0.09)[1] == -1.0


def test_paired_comparison_finds_a_difference_that_the_unpaired_one_misses():
    model, alone = two_scored(4, 200, (1.1, 0.9))
    paired, unpaired = compare_scores(model, alone), compare_scores(without_covariance(model), alone)
    assert (paired.method, paired.verdict) == (PAIRED, "better")
    assert (unpaired.method, unpaired.verdict) == (UNPAIRED, "no_clear_difference")
    assert paired.value == unpaired.value
    assert (paired.hi - paired.lo) < 0.6 * (unpaired.hi - unpaired.lo)
    assert compare_scores(*two_scored(4, 200, (0.8, 1.2))).verdict == "worse"


@pytest.mark.parametrize(("aurocs", "n"), [((0.8, 0.8), (15, 60)), ((0.85, 0.75), (50, 150)), ((0.97, 0.93), (100, 100))])
def test_interval_of_the_difference_covers_the_truth_about_95_times_in_100(aurocs, n):
    rng, hits = np.random.default_rng(21), 0
    for _ in range(600):
        a, b, covariance = paired_delong(*two_models(rng, n, aurocs, 0.9))
        variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
        found = compare(Measured(a, covariance[0, 0], *n), Measured(b, covariance[1, 1], *n), variance)
        hits += found.lo <= aurocs[0] - aurocs[1] <= found.hi
    assert 0.925 <= hits / 600 <= 0.99


def test_near_perfect_models_on_few_cases_are_compared_cautiously():
    """There the paired interval is far too short: it would cover about 80 of 100."""
    rng, hits = np.random.default_rng(22), 0
    for _ in range(300):
        a, b, covariance = paired_delong(*two_models(rng, (20, 80), (0.99, 0.97), 0.9))
        variance = max(0.0, covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
        found = compare(Measured(a, covariance[0, 0], 20, 80), Measured(b, covariance[1, 1], 20, 80), variance)
        hits += found.lo <= 0.02 <= found.hi
    assert hits / 300 >= 0.95


def test_models_that_rank_alike_are_not_called_different():
    labels, rows = draw_rows(3, 120, 1.0)
    found = compare_scores(scores_of(labels, rows, rows), scores_of(labels, rows, kind="alone"))
    assert found.to_json() == {
        "value": 0.0, "lo": 0.0, "hi": 0.0, "verdict": "no_clear_difference", "method": PAIRED, "alpha": ALPHA,
    }  # fmt: skip


def test_a_difference_without_any_spread_is_no_certainty():
    """Each positive passes one negative and each negative is passed by one positive: 0.05 apart, variance 0."""
    labels = np.tile([1, 0], 20)
    order, swapped = np.arange(40.0), np.arange(40.0) + np.tile([1.5, -1.5], 20) * 0.8
    a, b, covariance = paired_delong(labels, swapped, order)
    assert covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1] == pytest.approx(0.0, abs=1e-15)
    found = compare(Measured(a, covariance[0, 0], 20, 20), Measured(b, covariance[1, 1], 20, 20), 0.0)
    assert found.value == pytest.approx(0.05)
    assert (found.method, found.verdict) == (UNPAIRED, "no_clear_difference")


@pytest.mark.parametrize("variance", [None, 0.0])
def test_two_perfect_models_are_not_called_different(variance):
    perfect = Measured(1.0, 0.0, 20, 20)
    found = compare(perfect, perfect, variance)
    assert found.verdict == "no_clear_difference"
    assert found.lo < 0.0 < found.hi


@pytest.mark.parametrize(
    ("model", "verdict"), [(0.95, "better"), (0.82, "no_clear_difference"), (0.60, "worse"), (None, "not_estimable")]
)
def test_unpaired_verdict_has_its_states(model, verdict):
    found = compare(Measured(model, None if model is None else 0.0005, 100, 100), Measured(0.8, 0.0005, 100, 100))
    assert found.verdict == verdict
    assert (found.lo is None) == (found.method is None) == (verdict == "not_estimable")


def test_too_few_of_a_class_are_not_judged_however_small_the_variance():
    assert compare(Measured(0.9, 0.001, 9, 500), Measured(0.6, 0.001, 9, 500), 1e-6).verdict == "not_estimable"
    assert compare_scores(None, draw_scores(1, 100, 1.0, kind="alone")).verdict == "not_estimable"


def test_equal_models_are_called_different_about_as_often_as_alpha_says():
    verdicts = [compare_scores(*two_scored(seed, 150, (1.0, 1.0))).verdict for seed in range(200)]
    assert np.mean([one != "no_clear_difference" for one in verdicts]) <= ALPHA + 0.03


def test_equal_models_compared_unpaired_are_hardly_ever_called_different():
    pairs = [two_scored(seed, 150, (1.0, 1.0)) for seed in range(60)]
    assert not [
        1 for model, alone in pairs if compare_scores(without_covariance(model), alone).verdict != "no_clear_difference"
    ]


def test_mean_over_classes_takes_the_bound_that_holds_however_the_classes_move_together():
    model, alone = two_scored(6, 300, (1.2, 0.7), n_classes=3)
    each = [
        one.auroc_variance + own.auroc_variance - 2 * one.covariance_with_alone
        for one, own in zip(model.classes, alone.classes, strict=True)
    ]
    assert difference_variance(model, alone) == pytest.approx(np.mean(np.sqrt(each)) ** 2)
    assert compare_scores(model, alone).value == pytest.approx(site_auroc(model).value - site_auroc(alone).value)
    assert compare_scores(model, alone).method == PAIRED


def test_classes_too_rare_for_the_mean_are_left_out_of_its_variance_too():
    (labels, first), (_, second) = (draw_rows(6, 200, s, n_classes=3, model=m, own=0.1) for m, s in enumerate((1.2, 0.7)))
    keep = np.flatnonzero(labels != 2)
    keep = np.sort(np.r_[keep, np.flatnonzero(labels == 2)[:4]])
    model = scores_of(labels[keep], first[keep], second[keep])
    alone = scores_of(labels[keep], second[keep], kind="alone")
    rare = msgspec.structs.replace(model.classes[2], covariance_with_alone=None)
    assert difference_variance(model, alone) == difference_variance(
        msgspec.structs.replace(model, classes=(*model.classes[:2], rare)), alone
    )


def test_without_every_covariance_or_on_other_cases_nothing_is_paired():
    model, alone = two_scored(6, 300, (1.2, 0.7), n_classes=3)
    first = msgspec.structs.replace(model.classes[0], covariance_with_alone=None)
    assert difference_variance(msgspec.structs.replace(model, classes=(first, *model.classes[1:])), alone) is None
    assert difference_variance(model, draw_scores(7, 300, 1.0, n_classes=3)) is None
    assert difference_variance(model, draw_scores(6, 300, 1.0)) is None


def test_rounding_never_makes_a_variance_negative():
    model, alone = two_scored(6, 300, (1.0, 1.0))
    (one,) = model.classes
    high = one.auroc_variance + alone.classes[0].auroc_variance
    assert (
        difference_variance(
            msgspec.structs.replace(model, classes=(msgspec.structs.replace(one, covariance_with_alone=high),)), alone
        )
        == 0.0
    )
