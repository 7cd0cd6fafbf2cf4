"""The report of a run under differential privacy: what it shows, what it leaves open and why, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import msgspec
import pytest

from evaluation.report.build import build_report
from evaluation.report.inputs import RunSummary
from evaluation.report.render import render_html
from protocol.errors import EvaluationError
from tests.evaluation.made_up_runs import draw_scores, make_private_summary, make_summary
from tests.evaluation.test_report_content import KEYS, with_round, with_site
from tests.evaluation.test_report_page import Page, text_of


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return build_report(make_private_summary())


@pytest.fixture(scope="module")
def html(report: dict[str, Any]) -> str:
    return render_html(report)


def test_shape_is_that_of_every_report_with_unreleased_counts_null(report: dict[str, Any]):
    assert list(report) == KEYS
    assert report["schema_version"] == "fedward.report/1"
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    counts = ("n_patients", "n_train", "n_validation", "n_test")
    assert {report["cohort"][key] for key in (*counts, "n_sites_described")} == {None}
    for site in report["sites"]:
        assert {site[key] for key in (*counts, "positives_test")} == {None}
        assert (site["class_counts_train"], site["modalities"], site["alone"], site["versus_alone"]) == ({}, [], None, None)


def test_figures_hold_the_noise_and_say_so(report: dict[str, Any]):
    whole = report["performance"]["global"]["auroc"]
    assert whole["lo"] < whole["value"] < whole["hi"]
    assert 0 < whole["dp_sd"] < 0.05
    assert "widened for the noise" in whole["method"]
    assert report["performance"]["stratified"]["n_sites"] == 3
    assert report["performance"]["worst_site"] is not None
    small = next(site for site in report["sites"] if site["id"] == "st-elsewhere")
    assert (small["auroc"]["value"], small["auroc"]["why"]) == (None, "too_much_noise")


def test_test_patients_are_estimated_with_an_interval(report: dict[str, Any]):
    charite = report["sites"][0]["test_patients"]
    assert set(charite) == {"pneumonia", "the rest"}
    assert 1300 < sum(one["value"] for one in charite.values()) < 1500
    assert all(one["lo"] < one["value"] < one["hi"] for one in charite.values())
    assert build_report(make_summary(n_rounds=1))["sites"][0]["test_patients"] is None


def test_rounds_hold_epsilon_and_no_loss(report: dict[str, Any]):
    spent = [one["epsilon"] for one in report["rounds"]]
    assert spent == sorted(spent)
    assert spent[-1] == report["privacy"]["epsilon"] == 8.0
    assert all(one["train_loss"] == {} for one in report["rounds"])
    assert build_report(make_summary(n_rounds=1))["rounds"][0]["epsilon"] is None


def test_the_page_says_why_it_cannot_tell_whether_it_was_worth_it(html: str):
    text = text_of(html)
    assert "the scores of a model trained without noise may not leave a hospital" in text
    assert "Whether taking part was worth it for a hospital has no answer here" in text
    assert "better than alone" not in text


def test_the_page_shows_the_promise_as_text_and_as_a_figure(html: str):
    text, page = text_of(html), Page(html)
    assert page.open == []
    assert "epsilon 8 at delta 1e-06 for each patient" in text
    assert "infinite" not in text
    labels = [value for tag, name, value in page.attributes if tag == "svg" and name == "aria-label"]
    assert len([label for label in labels if label.startswith("Epsilon spent by round: round 1 2.53")]) == 2
    assert "about 2,8" in text  # patients, in the forest plot
    assert "mathdefault" not in html
    for absent in ("Training losses of", "manufacturer unknown", "Store, charite"):
        assert absent not in text


def test_the_page_is_loud_above_eight():
    quiet, loud = (render_html(build_report(make_private_summary(n_rounds=2, epsilon=epsilon))) for epsilon in (8.0, 12.0))
    assert "Epsilon is above 8" in text_of(loud)
    assert 'class="warn">12<small>' in loud
    assert "Epsilon is above 8" not in text_of(quiet)


@pytest.mark.parametrize(("n_tests", "n_classes"), [({"only": 900}, 2), ({"only": 8}, 2), ({"a": 1500, "b": 1500}, 3)])
def test_the_page_renders_whatever_the_noise_leaves(n_tests: dict[str, int], n_classes: int):
    page = Page(render_html(build_report(make_private_summary(n_tests, n_rounds=2, n_classes=n_classes))))
    assert page.open == []
    assert all(float(one) == 0 for one in page.values("tabindex"))


def test_a_mean_over_classes_rests_on_its_rarest_class():
    found = build_report(make_private_summary(n_rounds=1, n_classes=3))["performance"]
    assert found["global"]["auroc"]["value"] is not None
    assert found["stratified"]["auroc"]["value"] is not None


def test_a_private_run_without_rounds_or_scores_is_still_a_report():
    summary = make_private_summary({"a": 300, "b": 300}, n_rounds=1)
    nothing = tuple(dataclasses.replace(site, federated=None) for site in summary.sites)
    bare = with_round(summary, 0, validation={}, epsilon=None)
    for one in (bare, dataclasses.replace(bare, sites=nothing), dataclasses.replace(summary, rounds=())):
        assert Page(render_html(build_report(one))).open == []


def damaged(summary: RunSummary, **changes: Any) -> RunSummary:
    return with_site(summary, 0, federated=msgspec.structs.replace(summary.sites[0].federated, **changes))


@pytest.mark.parametrize("changes", [{"scale": 0.0}, {"epsilon": float("nan")}, {"classes": ()}])
def test_noised_scores_that_cannot_be_are_refused_with_the_site_s_name(changes: dict[str, Any]):
    with pytest.raises(EvaluationError, match=r"site a|classes"):
        build_report(damaged(make_private_summary({"a": 300}, n_rounds=1), **changes))


def test_histograms_of_another_release_s_bins_are_refused():
    summary = make_private_summary({"a": 300}, n_rounds=1)
    (one,) = summary.sites[0].federated.classes
    with pytest.raises(EvaluationError, match="15, 16"):
        build_report(damaged(summary, classes=(msgspec.structs.replace(one, positive=one.positive[1:]),)))


def test_exact_scores_never_stand_in_a_private_report_nor_noised_ones_in_another():
    exact, noisy = make_summary({"a": 300}, n_rounds=1), make_private_summary({"a": 300}, n_rounds=1)
    for summary in (
        with_site(noisy, 0, alone=draw_scores(1, 300, 1.0, kind="alone")),
        with_site(noisy, 0, federated=exact.sites[0].federated),
        with_site(exact, 0, federated=noisy.sites[0].federated, alone=None, personalised=None),
    ):
        with pytest.raises(EvaluationError, match="under mechanism"):
            build_report(summary)


@pytest.mark.parametrize("epsilon", [-1.0, float("inf"), float("nan")])
def test_a_round_s_impossible_epsilon_is_refused(epsilon: float):
    with pytest.raises(EvaluationError, match="epsilon"):
        build_report(with_round(make_private_summary({"a": 300}, n_rounds=1), 0, epsilon=epsilon))
