"""Figures from summed counts against scikit-learn and fairlearn on the pooled rows, which only a test ever has."""

from __future__ import annotations

import numpy as np
import pytest
from fairlearn.metrics import MetricFrame, false_positive_rate, selection_rate, true_positive_rate
from scipy.stats import beta
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, precision_score, roc_auc_score

from evaluation.audit.content import audit_content
from evaluation.audit.layout import Group
from evaluation.audit.measuring import figures
from evaluation.delong import delong
from tests.evaluation.audit.made_up_rows import SITES, attributes, binormal, hospitals, layout, logs, pool, summed

SHAPES = {
    "calibrated": {},
    "over-confident": {"scale": 4.0},
    "hardly trained": {"scale": 0.05, "centre": 0.0},
    "rare class": {"prevalence": 0.06, "centre": -2.75},
}


@pytest.fixture(scope="module", params=list(SHAPES))
def case(request):
    """Rows, layout, edges and sum of three hospitals; nobody is suppressed."""
    rows = hospitals(np.random.default_rng(11), 1500, **SHAPES[request.param])
    shape = layout(smallest_cell=1, operating_points=(0.3, 0.5))
    edges, vector = summed(shape, rows)
    return rows, shape, edges, vector


def everyone(case):
    _, shape, edges, vector = case
    return figures(shape, edges, vector, len(SITES))[0][0]


def test_auroc_is_scikit_learns_within_the_certificate_and_its_variance_delongs(case):
    labels, odds = pool(case[0])
    found, (exact, variance) = everyone(case).auroc, delong(labels, odds)
    assert exact == pytest.approx(roc_auc_score(labels, odds), abs=1e-12)
    assert abs(found.value - exact) <= found.binning_bound + 1e-12
    assert abs(found.value - exact) < 0.002
    assert found.variance == pytest.approx(variance, rel=0.03)


def test_average_precision_is_scikit_learns_within_the_certificate(case):
    labels, odds = pool(case[0])
    found, exact = everyone(case).average_precision, average_precision_score(labels, odds)
    assert abs(found.value - exact) <= found.bound + 1e-12
    assert abs(found.value - exact) < 0.004


def test_average_precision_without_any_tied_scores_is_exact_at_any_order():
    """Bins of one case each leave nothing to guess."""
    from evaluation.audit.ranking import average_precision

    rng = np.random.default_rng(12)
    labels = (rng.random(200) < 0.3).astype(int)
    found = average_precision(labels.astype(float), 1.0 - labels, (1.0, 1.0), 0.0)
    assert found.value == pytest.approx(average_precision_score(labels, np.arange(200)), abs=1e-12)
    assert found.bound == pytest.approx(0.0, abs=1e-12)


def test_calibration_is_scikit_learns_logistic_recalibration(case):
    labels, odds = pool(case[0])
    found = everyone(case).calibration
    fitted = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(odds[:, None], labels)
    slope, error = found.slope[0], np.sqrt(found.slope[1])
    assert abs(slope - fitted.coef_[0, 0]) < 0.25 * error
    chance = 1.0 / (1.0 + np.exp(-odds))
    assert found.observed_expected[0] == pytest.approx(labels.sum() / chance.sum(), rel=0.01)
    moved = 1.0 / (1.0 + np.exp(-odds - found.intercept[0]))  # what the intercept must mend
    assert moved.sum() == pytest.approx(labels.sum(), rel=0.01)


def test_the_error_of_the_slope_is_that_of_the_fit_on_rows(case):
    labels, odds = pool(case[0])
    found = everyone(case).calibration
    fitted = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(odds[:, None], labels)
    chance = fitted.predict_proba(odds[:, None])[:, 1]
    design = np.stack([np.ones_like(odds), odds], axis=1)
    information = (design * (chance * (1 - chance))[:, None]).T @ design
    assert found.slope[1] == pytest.approx(np.linalg.inv(information)[1, 1], rel=0.15)


def test_rates_of_every_group_are_fairlearns_exactly(case):
    rows, shape, edges, vector = case
    labels, odds = pool(rows)
    sexes = [one["sex"] or "unknown" for part in rows.values() for one in part.attributes]
    found = {one.group: one for one in figures(shape, edges, vector, len(SITES))[0]}
    for position, threshold in enumerate((0.3, 0.5)):
        called = (1.0 / (1.0 + np.exp(-odds)) >= threshold).astype(int)
        frame = MetricFrame(
            metrics={"tpr": true_positive_rate, "fpr": false_positive_rate, "called": selection_rate},
            y_true=labels,
            y_pred=called,
            sensitive_features=np.array(sexes),
        )
        for sex in ("F", "M", "unknown"):
            cells, expected = found[Group((("sex", sex),))].rates[position], frame.by_group.loc[sex]
            assert cells.tp / (cells.tp + cells.fn) == pytest.approx(expected["tpr"], abs=1e-12)
            assert cells.fp / (cells.fp + cells.tn) == pytest.approx(expected["fpr"], abs=1e-12)
            n = found[Group((("sex", sex),))].n
            assert (cells.tp + cells.fp) / n == pytest.approx(expected["called"], abs=1e-12)


def test_net_benefit_and_predictive_values_are_those_of_the_rows():
    rows = hospitals(np.random.default_rng(13), 1500)
    shape = layout(smallest_cell=1)
    edges, vector = summed(shape, rows)
    content = audit_content(shape, ["finding"], edges, vector, SITES, None)["classes"][0]
    labels, odds = pool(rows)
    chance = 1.0 / (1.0 + np.exp(-odds))
    for point in content["decision_curve"]:
        t = point["threshold"]
        called, n = chance >= t, len(labels)
        expected = (called & (labels == 1)).sum() / n - (called & (labels == 0)).sum() / n * t / (1 - t)
        assert point["model"]["value"] == pytest.approx(expected, abs=1e-6)
        assert point["treat_all"] == pytest.approx(labels.mean() - (1 - labels.mean()) * t / (1 - t), abs=1e-6)
    point = content["groups"][0]["operating_points"][0]
    assert point["ppv"]["value"] == pytest.approx(precision_score(labels, chance >= 0.5), abs=1e-6)
    assert point["npv"]["value"] == pytest.approx(precision_score(1 - labels, chance < 0.5), abs=1e-6)


def test_the_calibration_curve_is_scikit_learns():
    rows = hospitals(np.random.default_rng(14), 4000, scale=1.3)
    shape = layout(decision_thresholds=(), operating_points=(0.5,))
    edges, vector = summed(shape, rows)
    curve = audit_content(shape, ["finding"], edges, vector, SITES, None)["classes"][0]["calibration_curve"]
    labels, odds = pool(rows)
    observed, predicted = calibration_curve(labels, 1.0 / (1.0 + np.exp(-odds)), n_bins=10, strategy="quantile")
    assert 9 <= len(curve) <= 11
    at = np.interp([point["predicted"] for point in curve], predicted, observed)
    assert np.abs(at - [point["observed"]["value"] for point in curve]).max() < 0.03


def test_several_classes_are_scored_each_against_the_rest():
    rng = np.random.default_rng(15)
    from evaluation.audit.counting import TestRows as Rows

    rows = {}
    for site in SITES:
        labels = rng.integers(0, 3, 900)
        rows[site] = Rows(labels, rng.normal(size=(900, 3)) + 1.2 * np.eye(3)[labels], np.arange(900), attributes(rng, 900))
    shape = layout(3)
    edges, vector = summed(shape, rows, 3)
    found = figures(shape, edges, vector, len(SITES))
    labels = np.concatenate([one.labels for one in rows.values()])
    scores = np.concatenate([one.log_probabilities for one in rows.values()])
    chance = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    for index in range(3):
        exact = roc_auc_score(labels == index, chance[:, index])
        assert abs(found[index][0].auroc.value - exact) < 0.001


def test_two_images_of_each_patient_widen_the_intervals_by_the_root_of_two():
    from evaluation.audit.counting import TestRows as Rows

    rng = np.random.default_rng(16)
    labels, odds = binormal(rng, 1000)
    values = attributes(rng, 1000)
    single = {"a": Rows(labels, logs(odds), np.arange(1000), values)}
    twice = {"a": Rows(labels.repeat(2), logs(odds.repeat(2)), np.arange(1000).repeat(2), [v for v in values for _ in (0, 1)])}
    shape = layout(sites=("a",), smallest_cell=1)
    one, two = (figures(shape, *summed(shape, rows), 1)[0][0] for rows in (single, twice))
    assert one.design == (1.0, 1.0)
    assert two.design == (2.0, 2.0)
    # Twice the images say no more than the patients did.
    assert two.auroc.variance == pytest.approx(one.auroc.variance, rel=0.03)
    assert two.calibration.slope[1] == pytest.approx(one.calibration.slope[1], rel=0.03)
    assert two.average_precision.sampling == pytest.approx(one.average_precision.sampling, rel=0.05)
    shares = []
    for rows in (single, twice):
        content = audit_content(shape, ["finding"], *summed(shape, rows), ["a"], None)["classes"][0]
        shares.append(content["groups"][0]["operating_points"][0]["sensitivity"])
    assert shares[0]["lo"] == pytest.approx(shares[1]["lo"], abs=1e-9)


FIGURES = ("slope", "intercept", "observed_expected", "average_precision", "net_benefit")


def _truth(labels: np.ndarray, odds: np.ndarray) -> dict[str, float]:
    """What the figures are of all patients there could be, by other means than the audit's."""
    chance, intercept = 1.0 / (1.0 + np.exp(-odds)), 0.0
    for _ in range(30):
        moved = 1.0 / (1.0 + np.exp(-odds - intercept))
        intercept += (labels - moved).sum() / (moved * (1 - moved)).sum()
    return {
        "slope": LogisticRegression(C=np.inf).fit(odds[:, None], labels).coef_[0, 0],
        "intercept": intercept,
        "observed_expected": labels.sum() / chance.sum(),
        "average_precision": average_precision_score(labels, odds),
        "net_benefit": ((chance >= 0.3) & (labels == 1)).mean() - ((chance >= 0.3) & (labels == 0)).mean() * 3 / 7,
    }


@pytest.fixture(scope="module")
def hits() -> dict[str, list[bool]]:
    """For each figure, whether its interval held the truth in each of 150 draws of 500 patients."""
    miscalibrated = {"centre": 0.0}
    truth = _truth(*pool(hospitals(np.random.default_rng(18), 400_000, ("a",), **miscalibrated)))
    rng, shape = np.random.default_rng(17), layout(sites=(), attributes=(), smallest_cell=1, bins=64)
    found: dict[str, list[bool]] = {figure: [] for figure in FIGURES}
    for _ in range(150):
        rows = hospitals(rng, 500, ("a",), **miscalibrated)
        one = audit_content(shape, ["finding"], *summed(shape, rows), ["a"], None)["classes"][0]
        everyone = one["groups"][0]
        estimates = everyone["calibration"] | {"average_precision": everyone["average_precision"]}
        estimates["net_benefit"] = next(point["model"] for point in one["decision_curve"] if point["threshold"] == 0.3)
        for figure in FIGURES:
            found[figure].append(estimates[figure]["lo"] <= truth[figure] <= estimates[figure]["hi"])
    return found


@pytest.mark.parametrize("figure", FIGURES)
def test_intervals_hold_the_truth_19_times_of_20(hits, figure):
    n = len(hits[figure])
    least = beta.ppf(1e-4, 0.95 * n, 0.05 * n + 1)  # a 95% interval stays below once in 10,000 such trials
    assert sum(hits[figure]) / n >= least
