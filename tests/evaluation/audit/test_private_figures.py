"""Figures from noised counts: intervals that hold the truth, nothing cut at 0, and nothing said of what noise drowns."""

from __future__ import annotations

import math
from unittest import mock

import numpy as np
import pytest
from scipy.stats import beta

from evaluation.audit.content import audit_content
from evaluation.audit.counting import count_votes, noised
from evaluation.audit.edges import choose_edges
from evaluation.audit.layout import AuditLayout
from evaluation.audit.measuring import figures, noise_on, tallies
from evaluation.noisy_histograms import noise_variance
from protocol.errors import EvaluationError
from tests.evaluation.audit.made_up_rows import SITES, hospitals, layout

REPEATS = 120
RATES = ("sensitivity", "specificity", "ppv")
FIGURES = ("auroc", "average_precision", *RATES, "slope", "intercept", "observed_expected", "net_benefit")


def noise(shape: AuditLayout, site: str, rng: np.random.Generator) -> np.ndarray:
    """Discrete Laplace noise as a hospital adds it; from a test's generator, never so in earnest."""
    odds = -math.expm1(-shape.audit.epsilon / shape.votes)
    return (rng.geometric(odds, shape.size) - rng.geometric(odds, shape.size)) * noised(shape, site)


def private_sum(shape, rows, rng) -> np.ndarray:
    edges = choose_edges(shape)
    return sum(count_votes(shape, site, edges, one, lambda k: k - 1) + noise(shape, site, rng) for site, one in rows.items())


def picked(content, values: bool = False):
    """The figures of everyone, by name; not estimable ones are None."""
    one = content["classes"][0]
    everyone = one["groups"][0]
    point = everyone["operating_points"][0]
    found = {"auroc": everyone["auroc"], "average_precision": everyone["average_precision"]} | everyone["calibration"]
    found |= {name: point[name] for name in RATES}
    found["net_benefit"] = next(each["model"] for each in one["decision_curve"] if each["threshold"] == 0.3)
    return {name: found[name]["value"] for name in FIGURES} if values else found


@pytest.fixture(scope="module")
def hits() -> dict[str, list[bool]]:
    """Whether each interval held what 300,000 patients without noise have, in the same bins."""
    shape = layout(private=True, smallest_cell=1)
    edges, rng = choose_edges(shape), np.random.default_rng(31)
    many = count_votes(shape, "a", edges, hospitals(rng, 300_000, ("a",))["a"], lambda k: 0)
    bare = layout(private=True, smallest_cell=1, epsilon=10.0)
    truth = picked(audit_content(bare, ["finding"], edges, many, ["a"], None), values=True)
    found: dict[str, list[bool]] = {name: [] for name in FIGURES}
    with mock.patch("evaluation.audit.content.fairness_entry", return_value=None):  # for time
        for _ in range(REPEATS):
            vector = private_sum(shape, hospitals(rng, 250), rng)
            one = picked(audit_content(shape, ["finding"], edges, vector, SITES, None))
            for name in FIGURES:
                if one[name]["value"] is not None:
                    found[name].append(one[name]["lo"] <= truth[name] <= one[name]["hi"])
    return found


@pytest.mark.parametrize("name", FIGURES)
def test_intervals_hold_the_truth_with_the_noise_in_them(hits, name):
    n = len(hits[name])
    assert n >= 0.9 * REPEATS  # 750 patients stand clear of the noise
    assert sum(hits[name]) / n >= beta.ppf(1e-4, 0.95 * n, 0.05 * n + 1)


def test_the_noise_of_one_hospital_is_on_its_own_group_and_that_of_all_on_the_others():
    shape = layout(private=True)
    one = noise_variance(shape.votes / 3.0)
    assert [noise_on(shape, group, 3) / one for group in shape.groups[:5]] == pytest.approx([3, 1, 1, 1, 3])
    assert noise_on(layout(), shape.groups[0], 3) == 0.0


def test_counts_below_zero_stay_below_zero():
    """Cutting them at 0 would add patients where there are none."""
    shape, rng = layout(private=True), np.random.default_rng(32)
    edges, totals = choose_edges(shape), []
    for _ in range(60):
        vector = sum(noise(shape, site, rng) for site in SITES)
        totals.append(tallies(shape, vector, 3)[0][0].n)
        for one in figures(shape, edges, vector, 3)[0]:
            assert one.auroc is not None
            assert not one.auroc.estimable
    sd = math.sqrt(shape.n_bins * 3 * noise_variance(shape.votes / 3.0))
    assert abs(np.mean(totals)) < 4 * sd / math.sqrt(120)
    assert np.min(totals) < 0


def test_what_noise_drowns_is_not_estimable_and_no_number_of_patients_is_shown():
    shape, rng = layout(private=True), np.random.default_rng(33)
    rows = hospitals(rng, 400)
    content = audit_content(shape, ["finding"], choose_edges(shape), private_sum(shape, rows, rng), SITES, None)
    groups = {(one["attribute"], one["value"]): one for one in content["classes"][0]["groups"]}
    assert all(one["n"] is None and one["events"] is None for one in groups.values())
    drowned = groups["sex", "O"]  # nobody
    assert (drowned["status"], drowned["why"]) == ("not_estimable", "too_much_noise")
    assert drowned["auroc"]["value"] is None
    assert groups["all", "all"]["auroc"]["dp_sd"] > 0
    assert content["epsilon"] == 3.0
    assert not any(one["status"] == "suppressed" for one in groups.values())


def test_more_noise_widens_every_interval():
    rows, widths = hospitals(np.random.default_rng(34), 2000), {}
    for epsilon in (1.0, 10.0):
        rng = np.random.default_rng(35)
        shape = layout(private=True, epsilon=epsilon)
        content = audit_content(shape, ["finding"], choose_edges(shape), private_sum(shape, rows, rng), SITES, None)
        widths[epsilon] = {name: one["hi"] - one["lo"] for name, one in picked(content).items()}
    for name in FIGURES:
        assert widths[1.0][name] > widths[10.0][name]


def test_a_sum_of_no_hospital_is_refused():
    shape = layout(private=True)
    with pytest.raises(EvaluationError, match="no hospital"):
        figures(shape, choose_edges(shape), np.zeros(shape.size, dtype=np.int64), 0)


@pytest.mark.parametrize(("scale", "told"), [(1.0, True), (4.0, False), (0.05, False)])
def test_no_slope_is_given_where_the_fixed_bins_cannot_tell_it(scale, told):
    """An over-confident model puts its scores beyond the last edge, one that hardly trained all in two bins."""
    shape = layout(private=True, sites=("a",))
    rows = hospitals(np.random.default_rng(36), 20_000, ("a",), scale=scale, centre=0.0)
    edges = choose_edges(shape)
    found = figures(shape, edges, count_votes(shape, "a", edges, rows["a"], lambda k: 0), 1)[0][0].calibration
    assert (found.slope is not None) == told
    assert found.observed_expected is not None
