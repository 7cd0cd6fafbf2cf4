"""What the report says of fairness: every gap held against fairlearn on rows, and every verdict against its rule."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fairlearn.metrics import (
    MetricFrame,
    equalized_odds_difference,
    false_positive_rate,
    true_positive_rate,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from evaluation.audit.fairness import fairness_entry, fairness_rows
from evaluation.audit.figures import Calibration, Cells, GroupFigures
from evaluation.heterogeneity import spread
from evaluation.measured import Measured
from evaluation.metrics import Noise
from tests.evaluation.audit.fairness_groups import Rows, draw, figures, layout

SITES = ("a", "b", "c", "d")


def entry(rows: Rows, **settings: object) -> dict[str, Any]:
    made = layout(SITES, **settings)
    return fairness_entry(made, ["opacity"], [figures(made, rows)])


def comparison(report: dict[str, Any], attribute: str, figure: str) -> dict[str, Any]:
    (found,) = [one for one in report["tests"] if (one["attribute"], one["figure"]) == (attribute, figure)]
    return dict(found)


def row_of(groups: list[GroupFigures], attribute: str, figure: str, **settings: object) -> dict[str, Any]:
    return comparison(fairness_entry(layout(SITES, **settings), ["opacity"], [groups]), attribute, figure)


@pytest.fixture(scope="module")
def rows() -> Rows:
    return draw(np.random.default_rng(0), SITES, 150, 300, lower={"b": 0.08})


@pytest.mark.parametrize("attribute", ["site", "sex", "age"])
def test_gaps_of_rates_are_those_of_fairlearn(rows: Rows, attribute: str) -> None:
    report, groups = entry(rows), getattr(rows, attribute)
    frame = MetricFrame(
        metrics={"sensitivity": true_positive_rate, "false_positive_rate": false_positive_rate},
        y_true=rows.labels,
        y_pred=rows.calls,
        sensitive_features=groups,
    )
    for figure in ("sensitivity", "false_positive_rate"):
        found = comparison(report, attribute, figure)
        assert found["gap"]["value"] == pytest.approx(frame.difference()[figure], abs=1e-6)
        assert found["lowest"] == frame.by_group[figure].idxmin()
        assert found["highest"] == frame.by_group[figure].idxmax()
    odds = equalized_odds_difference(rows.labels, rows.calls, sensitive_features=groups)
    assert comparison(report, attribute, "equalised_odds")["gap"]["value"] == pytest.approx(odds, abs=1e-6)


def test_gaps_of_an_intersection_are_those_of_fairlearn(rows: Rows) -> None:
    report = entry(rows, intersections=[["sex", "age"]])
    crossed = [f"{sex} × {age}" for sex, age in zip(rows.sex, rows.age, strict=True)]
    odds = equalized_odds_difference(rows.labels, rows.calls, sensitive_features=crossed)
    assert comparison(report, "sex × age", "equalised_odds")["gap"]["value"] == pytest.approx(odds, abs=1e-6)


def test_the_gap_of_auroc_is_that_of_scikit_learn(rows: Rows) -> None:
    by_site = {
        site: roc_auc_score(rows.labels[rows.site == site], rows.log_odds[rows.site == site]) for site in np.unique(rows.site)
    }
    found = comparison(entry(rows), "site", "auroc")
    assert found["gap"]["value"] == pytest.approx(max(by_site.values()) - min(by_site.values()), abs=1e-6)
    assert found["worst"]["group"] == found["lowest"] == min(by_site, key=lambda site: by_site[site])
    assert found["worst"]["value"] == pytest.approx(min(by_site.values()), abs=1e-6)


def test_hospitals_also_have_their_random_effects_spread(rows: Rows) -> None:
    found = comparison(entry(rows), "site", "auroc")
    made = layout(SITES)
    expected = spread([one.auroc for one in figures(made, rows) if one.group.site is not None and one.auroc is not None])
    assert expected is not None
    assert found["tau_logit_auroc"] == pytest.approx(expected.tau, abs=1e-6)
    assert found["cochran_q"] == pytest.approx(expected.q, abs=1e-6)
    assert "cochran_q" not in comparison(entry(rows), "sex", "auroc")


def test_underdiagnosis_is_the_gap_of_missed_cases_and_is_not_tested_twice(rows: Rows) -> None:
    report = entry(rows)
    missed, sensitivity = comparison(report, "site", "underdiagnosis"), comparison(report, "site", "sensitivity")
    assert missed["gap"]["value"] == sensitivity["gap"]["value"]
    assert (missed["lowest"], missed["highest"]) == (sensitivity["highest"], sensitivity["lowest"])
    assert missed["worst"]["value"] == pytest.approx(1.0 - sensitivity["worst"]["value"], abs=2e-6)
    assert missed["p"] is None
    assert missed["same_as"] == "sensitivity"
    assert report["n_tested"] == len([one for one in report["tests"] if one["p"] is not None]) == 12


def test_underdiagnosis_of_a_class_of_healthy_patients_is_its_false_positive_rate(rows: Rows) -> None:
    made = layout(SITES)
    report = fairness_entry(made, ["No finding"], [figures(made, rows)])
    missed, false_positive = comparison(report, "sex", "underdiagnosis"), comparison(report, "sex", "false_positive_rate")
    assert missed["gap"] == false_positive["gap"]
    assert missed["highest"] == false_positive["highest"]
    assert missed["same_as"] == "false_positive_rate"


def test_equalised_odds_fails_with_either_rate_and_passes_with_both() -> None:
    made = layout(SITES, attributes=["sex"])
    both = {"pass": (0.8, 0.8, 0.2, 0.2), "fail": (0.8, 0.8, 0.1, 0.4), "insufficient": (0.8, 0.71, 0.2, 0.2)}
    for verdict, (f_tpr, m_tpr, f_fpr, m_fpr) in both.items():
        groups = [flat(group, F={"tpr": f_tpr, "fpr": f_fpr}, M={"tpr": m_tpr, "fpr": m_fpr}) for group in made.groups]
        found = row_of(groups, "sex", "equalised_odds", attributes=["sex"])
        assert found["verdict"] == verdict


def flat(group: Any, n: int = 2000, **by_value: dict[str, float]) -> GroupFigures:
    """A group with `n` of each class and just these figures; nobody in a group that is not named."""
    if group.value not in by_value:
        return GroupFigures(group, 0, 0, auroc=Measured(None, None, 0, 0), rates=(Cells(0.5, 0, 0, 0, 0),))
    given = {"auroc": 0.85, "tpr": 0.8, "fpr": 0.2, "slope": 1.0, "sd": 0.005, "n": n} | by_value[group.value]
    count = int(given["n"])
    return GroupFigures(
        group,
        2 * count,
        count,
        auroc=Measured(given["auroc"], given["sd"] ** 2, count, count),
        rates=(Cells(0.5, given["tpr"] * count, (1 - given["tpr"]) * count, given["fpr"] * count, (1 - given["fpr"]) * count),),
        calibration=Calibration(slope=(given["slope"], 0.02**2), observed_expected=(1.0, 0.01**2)),
    )


def site_row(figure: str = "auroc", **by_site: dict[str, float]) -> dict[str, Any]:
    return row_of([flat(group, **by_site) for group in layout(SITES).groups], "site", figure)


def test_a_gap_whose_interval_is_above_the_margin_fails() -> None:
    found = site_row(a={}, b={}, c={"auroc": 0.7}, d={})
    assert found["verdict"] == "fail"
    assert found["gap"]["lo"] > found["margin"] == 0.05
    assert found["p_holm"] <= 0.05
    assert found["worst"]["group"] == "c"


def test_a_gap_whose_interval_is_within_the_margin_passes() -> None:
    found = site_row(a={}, b={}, c={"auroc": 0.84}, d={})
    assert found["verdict"] == "pass"
    assert found["gap"]["hi"] <= 0.05


def test_a_gap_that_is_no_more_than_chance_gives_is_no_finding_however_large() -> None:
    wide = {"sd": 0.06}
    found = site_row(a=wide, b=wide, c=wide | {"auroc": 0.75}, d=wide)
    assert found["gap"]["value"] > found["margin"]
    assert found["null_gap"] == pytest.approx(0.124, rel=0.1)  # 2.06 standard errors
    assert found["verdict"] == "insufficient"


def test_a_clear_difference_that_may_lie_within_the_margin_is_insufficient() -> None:
    found = site_row(a={}, b={}, c={"auroc": 0.79}, d={})
    assert found["p_holm"] <= 0.05
    assert found["gap"]["value"] > found["margin"] > found["gap"]["lo"]
    assert found["verdict"] == "insufficient"


def test_a_family_that_cannot_be_compared_is_insufficient_and_never_a_perfect_0() -> None:
    few = {"n": 9}
    for by_site in ({}, {"a": {}}, {"a": {}, "b": few, "c": few, "d": few}):
        for figure in ("auroc", "sensitivity", "false_positive_rate", "equalised_odds", "underdiagnosis", "calibration_slope"):
            found = site_row(figure, **by_site)
            assert found["verdict"] == "insufficient"
            assert found["gap"] == {"value": None, "lo": None, "hi": None}
            assert found["p"] is found["p_holm"] is found["null_gap"] is found["worst"] is None
            assert set(found["left_out"]) == set(SITES) - ({"a"} if "a" in by_site else set())
            assert set(found["left_out"].values()) == {"too_few"}


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(0, 9), min_size=4, max_size=4),
    st.integers(0, 3),
    st.floats(0.0, 1.0),
    st.sampled_from(["auroc", "sensitivity", "false_positive_rate", "equalised_odds", "underdiagnosis", "calibration_slope"]),
)
def test_one_measurable_group_never_passes_nor_fails(sizes: list[int], large: int, rate: float, figure: str) -> None:
    by_site = {site: {"n": n, "tpr": rate, "fpr": 1.0 - rate} for site, n in zip(SITES, sizes, strict=True)}
    by_site[SITES[large]] = {"n": 5000, "tpr": rate}
    found = site_row(figure, **by_site)
    assert found["verdict"] == "insufficient"
    assert found["gap"]["value"] is None
    assert set(found["left_out"]) == set(SITES) - {SITES[large]}


def test_what_may_not_be_shown_enters_no_comparison() -> None:
    made = layout(SITES)
    groups = [flat(group, a={}, b={}, c={"auroc": 0.6, "tpr": 0.1, "fpr": 0.9}, d={}) for group in made.groups]
    hidden = [replace(one, shown=False, why="complement") if one.group.site == "c" else one for one in groups]
    shown = [flat(group, a={}, b={}, d={}) for group in made.groups]
    for figure in ("auroc", "sensitivity", "false_positive_rate", "equalised_odds", "underdiagnosis", "calibration_slope"):
        found = row_of(hidden, "site", figure)
        assert found["left_out"] == {"c": "complement"}
        assert found["groups"] == ["a", "b", "d"]
        assert found["gap"] == row_of(shown, "site", figure)["gap"]


def test_a_rate_whose_cells_may_not_be_shown_is_left_out_and_the_other_rate_is_not() -> None:
    groups = [flat(group, a={}, b={}, c={"tpr": 0.3}, d={}) for group in layout(SITES).groups]
    groups = [
        replace(one, rates=(replace(one.rates[0], positives_shown=False),)) if one.group.site == "c" else one for one in groups
    ]
    assert row_of(groups, "site", "sensitivity")["left_out"] == {"c": "small_cell"}
    assert row_of(groups, "site", "false_positive_rate")["left_out"] == {}
    odds = row_of(groups, "site", "equalised_odds")
    assert odds["left_out"] == {"c": "small_cell"}
    assert odds["groups"] == ["a", "b", "d"]


def test_patients_without_a_value_take_a_pass_away_but_make_no_finding() -> None:
    found = sex_row(F={}, M={}, unknown={})
    assert found["verdict"] == "pass"
    assert found["groups"] == ["F", "M"]
    assert found["left_out"] == {"O": "too_few", "unknown": "unknown"}
    astray = sex_row(F={}, M={}, unknown={"auroc": 0.6})
    assert astray["verdict"] == "insufficient"
    assert astray["gap"] == found["gap"]
    assert sex_row(F={}, unknown={"auroc": 0.6})["verdict"] == "insufficient"


def sex_row(figure: str = "auroc", **by_value: dict[str, float]) -> dict[str, Any]:
    return row_of([flat(group, **by_value) for group in layout(SITES).groups], "sex", figure)


def test_slopes_pass_within_their_margins_and_fail_only_where_groups_differ() -> None:
    assert site_row("calibration_slope", a={}, b={}, c={}, d={})["verdict"] == "pass"
    apart = site_row("calibration_slope", a={}, b={}, c={"slope": 0.5}, d={})
    assert apart["verdict"] == "fail"
    assert apart["worst"]["group"] == "c"
    assert apart["margin"] == [0.8, 1.25]
    alike = {"slope": 0.5}
    assert site_row("calibration_slope", a=alike, b=alike, c=alike, d=alike)["verdict"] == "insufficient"
    inside = site_row("calibration_slope", a={}, b={}, c={"slope": 0.9}, d={})
    assert inside["p_holm"] <= 0.05
    assert inside["verdict"] == "pass"


def test_observed_over_expected_has_a_gap_but_no_verdict() -> None:
    found = site_row("observed_expected", a={}, b={}, c={}, d={})
    assert found["gap"]["value"] == 0.0
    assert found["verdict"] is found["margin"] is found["p"] is None


def test_a_ratio_that_noise_has_drowned_still_makes_a_report() -> None:
    drowned = [
        replace(one, calibration=Calibration(slope=(1.0, 1e8), observed_expected=(1e-4, 1e4)))
        for one in [flat(group, F={}, M={}) for group in layout(SITES).groups]
    ]
    report = fairness_entry(layout(SITES), ["opacity"], [drowned])
    json.dumps(report, allow_nan=False)
    assert comparison(report, "sex", "calibration_slope")["verdict"] == "insufficient"


def test_every_comparison_of_the_report_counts_for_holm(rows: Rows) -> None:
    report = entry(rows, intersections=[["sex", "age"]], operating_points=[0.3, 0.5])
    tested = [one for one in report["tests"] if one["p"] is not None]
    assert report["n_tested"] == len(tested) == 4 * (1 + 2 * 2 + 1)
    least = min(tested, key=lambda one: one["p"])
    assert least["p_holm"] == pytest.approx(min(1.0, least["p"] * len(tested)), abs=1e-4)
    assert all(one["p_holm"] >= one["p"] for one in tested)


def test_one_fail_fails_the_report_and_only_passes_pass_it() -> None:
    def verdict(**by_value: dict[str, float]) -> str:
        made = layout((), attributes=["sex"])
        groups = [flat(group, **by_value) for group in made.groups]
        return str(fairness_entry(made, ["opacity"], [groups])["verdict"])

    assert verdict(F={}, M={}) == "pass"
    assert verdict(F={}, M={"auroc": 0.7}) == "fail"
    assert verdict(F={}, M={"sd": 0.05}) == "insufficient"
    assert verdict(F={}) == "insufficient"
    assert fairness_entry(layout((), attributes=[]), ["opacity"], [[]])["verdict"] == "insufficient"


def test_images_of_one_patient_count_for_less() -> None:
    groups = [flat(group, F={"tpr": 0.9}, M={"tpr": 0.7}) for group in layout(SITES).groups]
    crowded = [replace(one, design=(4.0, 1.0)) for one in groups]
    one, four = (row_of(these, "sex", "sensitivity")["gap"] for these in (groups, crowded))
    assert four["value"] == one["value"]
    assert four["hi"] - four["lo"] == pytest.approx(2.0 * (one["hi"] - one["lo"]), rel=0.03)


def test_noise_widens_a_gap_and_raises_its_null_gap() -> None:
    made = layout(SITES)
    plain = [flat(group, F={"tpr": 0.9}, M={"tpr": 0.7}) for group in made.groups]
    variance = 60.0**2
    noised = [
        replace(
            one,
            count_sd=60.0,
            rates=(replace(one.rates[0], noise=(variance,) * 4),),
            auroc=one.auroc and replace(one.auroc, variance=0.02**2 + 0.005**2, noise=Noise(0.02**2, 60.0)),
        )
        for one in plain
    ]
    for figure in ("auroc", "sensitivity", "false_positive_rate"):
        clear, blurred = row_of(plain, "sex", figure), row_of(noised, "sex", figure)
        assert blurred["gap"]["hi"] > clear["gap"]["hi"]
        assert blurred["null_gap"] > 1.5 * clear["null_gap"]
        assert blurred["left_out"]["O"] == "too_much_noise"
    error = math.hypot(0.02, 0.005) * math.sqrt(2.0)
    assert row_of(noised, "sex", "auroc")["null_gap"] == pytest.approx(error * math.sqrt(2.0 / math.pi), rel=0.05)


def test_the_entry_is_json_and_the_same_every_time(rows: Rows) -> None:
    made = layout(SITES, intersections=[["sex", "age"]])
    groups = figures(made, rows)
    first = json.dumps(fairness_entry(made, ["opacity"], [groups]), allow_nan=False)
    assert first == json.dumps(fairness_entry(made, ["opacity"], [groups]), allow_nan=False)
    again = fairness_entry(made, ["opacity"], [groups[::-1]])
    key = lambda one: (one["attribute"], one["figure"])  # noqa: E731
    for one, two in zip(sorted(json.loads(first)["tests"], key=key), sorted(again["tests"], key=key), strict=True):
        assert {**one, "groups": sorted(one["groups"])} == {**two, "groups": sorted(two["groups"])}


def test_no_difference_raises_an_alarm_in_at_most_5_of_100_reports_and_a_planted_one_does() -> None:
    made, repeats = layout(SITES), 120
    alarms = found = 0
    for seed in range(repeats):
        rng = np.random.default_rng([7, seed])
        fair = fairness_rows(made, ["opacity"], [figures(made, draw(rng, SITES, 60, 120))])
        alarms += any(row.p_holm is not None and row.p_holm <= 0.05 for row in fair)
        assert all(row.verdict != "fail" for row in fair)
        if seed < 25:
            biased = figures(made, draw(rng, SITES, 200, 400, lower={"d": 0.2}))
            found += any(
                (row.attribute, row.figure, row.verdict) == ("site", "auroc", "fail")
                for row in fairness_rows(made, ["opacity"], [biased])
            )
    assert alarms / repeats <= 0.05 + 3.0 * math.sqrt(0.05 * 0.95 / repeats)
    assert found >= 23
