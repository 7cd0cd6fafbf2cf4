"""Pooled beside within hospitals in plain words: the figures are those of the job, and nothing is said that they do not say."""

from __future__ import annotations

import json

import pytest

from evaluation.report.build import build_report
from evaluation.report.pooled_within import alone_by_site, pooled_within
from evaluation.report.render import render_html
from tests.evaluation.made_up_runs import make_private_summary, make_summary
from tests.evaluation.test_report_page import text_of


@pytest.fixture
def report():
    one = json.loads(json.dumps(build_report(make_summary(n_rounds=1))))
    one["performance"]["global"]["auroc"] |= {"value": 0.9, "binning_bound": 0.001}
    one["performance"]["stratified"]["auroc"]["value"] = 0.85
    return one


def test_knowing_the_hospital_alone_is_a_coin_toss_where_the_finding_is_as_common_everywhere():
    assert alone_by_site({"a": (10, 90), "b": (30, 270)}) == 0.5


def test_knowing_the_hospital_alone_is_everything_where_hospital_and_finding_are_one():
    assert alone_by_site({"a": (50, 0), "b": (0, 70)}) == 1.0


def test_knowing_the_hospital_alone_is_what_counting_pairs_by_hand_gives():
    # positives 3 at a (0.75) and 1 at b (0.25), negatives 1 and 3: won 3 x 3, tied 3 x 1 and 1 x 3, lost 1 x 1
    assert alone_by_site({"a": (3, 1), "b": (1, 3)}) == (9 + 0.5 * 6) / 16


def test_without_a_pair_there_is_no_figure():
    assert alone_by_site({"a": (0, 5), "b": (0, 7)}) is None


def test_the_paragraph_holds_the_figures_of_the_job(report):
    said = " ".join(pooled_within(report))
    counts = {s["id"]: (p, s["n_test"] - p) for s in report["sites"] if (p := (s["positives_test"] or {}).get("pneumonia"))}
    shares = {site: p / (p + n) for site, (p, n) in counts.items()}
    low, high = min(shares, key=shares.get), max(shares, key=shares.get)
    assert "Pooled, the AUROC is 0.900; within hospitals it is 0.850." in said
    assert f"{100 * shares[low]:.0f}% have pneumonia at {low} and {100 * shares[high]:.0f}% at {high}" in said
    assert f"would reach {alone_by_site(counts):.2f} pooled, and 0.50 within hospitals" in said
    assert "Pooled is higher" in said
    assert "How much of the difference, 0.050, is chance is not known." in said
    assert said in text_of(render_html(report))


def test_a_lower_pooled_figure_is_not_called_recognition(report):
    report["performance"]["stratified"]["auroc"]["value"] = 0.93
    said = " ".join(pooled_within(report))
    assert "Pooled is lower" in said
    assert "recognising" not in said


def test_a_difference_smaller_than_the_bins_can_make_is_said_to_be_that(report):
    report["performance"]["global"]["auroc"]["binning_bound"] = 0.06
    assert "less than counting in bins can move the pooled figure (0.060)" in " ".join(pooled_within(report))


def test_where_both_read_the_same_or_one_is_missing_nothing_is_said(report):
    report["performance"]["stratified"]["auroc"]["value"] = 0.9004
    assert pooled_within(report) == []
    report["performance"]["stratified"]["auroc"]["value"] = None
    assert pooled_within(report) == []


def test_withheld_numbers_are_not_reckoned_with(report):
    next(site for site in report["sites"] if site["positives_test"])["n_test"] = None
    said = " ".join(pooled_within(report))
    assert "not shown" in said
    assert "%" not in said


def test_noised_numbers_are_said_to_be_about():
    report = json.loads(json.dumps(build_report(make_private_summary(n_rounds=1))))
    report["performance"]["global"]["auroc"]["value"] = 0.9
    report["performance"]["stratified"]["auroc"]["value"] = 0.85
    said = " ".join(pooled_within(report))
    assert "Of the test patients, about " in said
    assert "would reach about " in said
