"""Two reports side by side: whose difference is shown, how sure it is, and what is refused."""

from __future__ import annotations

import copy

import pytest

from evaluation.report.build import build_report
from evaluation.report.compare import compare_reports, plan_differences, same_patients
from evaluation.report.finish import finished
from tests.evaluation.made_up_audit import audited_report
from tests.evaluation.made_up_runs import make_summary


@pytest.fixture(scope="module")
def report():
    return finished(audited_report(n_rounds=1))


def changed(report, **auroc):
    """The report with another AUROC of the women, and its interval moved alike."""
    other = copy.deepcopy(report)
    women = next(one for one in other["audit"]["classes"][0]["groups"] if one["value"] == "F")
    women["auroc"] |= auroc
    return other


def row(found, attribute, value, figure="auroc"):
    return next(
        one for one in found["figures"] if (one["attribute"], one["value"], one["figure"]) == (attribute, value, figure)
    )


def test_a_group_that_gains_is_said_to_be_higher_with_its_interval(report):
    better = changed(report, value=0.9, lo=0.88, hi=0.92)
    found = row(compare_reports(report, better), "sex", "F")
    assert found["verdict"] == "higher"
    assert found["difference"]["value"] == pytest.approx(0.088)
    # Square and add: from the lower half of the higher figure and the upper half of the lower one.
    women = row(compare_reports(report, report), "sex", "F")["a"]
    assert found["difference"]["lo"] == pytest.approx(
        0.088 - ((0.02**2 + (women["hi"] - women["value"]) ** 2) ** 0.5), abs=1e-6
    )
    assert row(compare_reports(better, report), "sex", "F")["verdict"] == "lower"


def test_a_report_beside_itself_shows_no_difference(report):
    found = compare_reports(report, report)
    assert found["plan"] == []
    assert {one["verdict"] for one in found["figures"]} == {"no_clear_difference", "not_estimable"}
    assert all(set(one["difference"].values()) in ({0.0}, {None}) for one in found["figures"])  # nothing is estimated
    assert found["same_patients"] is True


def test_a_suppressed_group_has_no_difference(report):
    assert row(compare_reports(report, report), "sex", "O")["verdict"] == "not_estimable"


@pytest.mark.parametrize(("more", "refused"), [(1, True), (10, True), (11, False), (0, False)])
def test_groups_that_differ_by_a_few_cases_are_refused_and_so_is_everyone(report, more, refused):
    other = copy.deepcopy(report)
    for group in other["audit"]["classes"][0]["groups"]:
        if group["value"] in ("F", "all"):
            group["n"] += more
            group["operating_points"] = []  # their rates would name cells of their own
    found = compare_reports(report, other)
    for place in (("sex", "F"), ("all", "all")):
        assert (row(found, *place)["verdict"] == "refused") is refused
        assert (row(found, *place)["a"]["value"] is None) is refused
    assert row(found, "sex", "M")["verdict"] == "no_clear_difference"


def test_two_models_that_call_nearly_the_same_number_of_a_group_are_refused_that_rate_alone(report):
    other = copy.deepcopy(report)
    women = next(one for one in other["audit"]["classes"][0]["groups"] if one["value"] == "F")
    point = women["operating_points"][0]
    point["sensitivity"]["value"] += 3 / women["events"]
    found = compare_reports(report, other)
    refused = [one for one in found["figures"] if one["verdict"] == "refused"]
    assert [(one["value"], one["figure"], one["threshold"]) for one in refused] == [("F", "sensitivity", point["threshold"])]
    assert row(found, "sex", "F")["verdict"] == "no_clear_difference"


def test_jobs_without_a_common_cohort_are_not_refused(report):
    other = copy.deepcopy(report)
    for site in other["sites"]:
        site["store_digest"] = "sha256:" + "ff" * 32
    for group in other["audit"]["classes"][0]["groups"]:
        if group["n"]:
            group["n"] += 1
    found = compare_reports(report, other)
    assert found["same_patients"] is False
    assert "refused" not in {one["verdict"] for one in found["figures"]}


def test_whether_patients_are_the_same_is_unknown_where_stores_or_splits_are(report):
    private = finished(audited_report(n_rounds=1, private=True))
    assert same_patients(report, private) is None
    other = copy.deepcopy(report)
    other["plan"]["content"]["seed"] = 5
    assert same_patients(report, other) is None


def test_reports_without_an_audit_are_compared_hospital_by_hospital():
    a = build_report(make_summary({"x": 420, "y": 260}, n_rounds=1))
    b = build_report(make_summary({"x": 420, "y": 265, "z": 90}, n_rounds=1))
    found = compare_reports(a, b)
    assert row(found, "site", "x")["verdict"] == "no_clear_difference"
    assert row(found, "site", "y")["verdict"] == "refused"  # five images came or left
    assert found["only_in_b"] == ["site z"]


def test_where_one_job_alone_has_an_audit_everyone_and_the_hospitals_are_still_compared(report):
    plain = copy.deepcopy(report) | {"audit": None}
    for one, other, groups in ((plain, report, "only_in_b"), (report, plain, "only_in_a")):
        found = compare_reports(one, other)
        compared = {(each["attribute"], each["value"]) for each in found["figures"]}
        assert compared == {("all", "all"), *(("site", site["id"]) for site in report["sites"])}
        assert row(found, "all", "all")["a"]["value"] == report["performance"]["global"]["auroc"]["value"]
        assert "pneumonia sex F" in found[groups]
        assert found[{"only_in_a": "only_in_b", "only_in_b": "only_in_a"}[groups]] == []


def test_plans_differ_where_a_key_does():
    a = {"seed": 1, "training": {"lr": 0.1, "mu": 0.0}, "name": "x"}
    b = {"seed": 1, "training": {"lr": 0.2}, "name": "x", "title": "y"}
    assert plan_differences(a, b) == [
        {"key": "title", "a": None, "b": "y"},
        {"key": "training.lr", "a": 0.1, "b": 0.2},
        {"key": "training.mu", "a": 0.0, "b": None},
    ]
