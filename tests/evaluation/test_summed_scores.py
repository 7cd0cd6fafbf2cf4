"""Sums of scores: what a hospital's vector holds, what the sum gives, and how a report of sums reads."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import numpy as np
import pytest

from evaluation.measure import pooled_classes
from evaluation.report.build import build_report
from evaluation.report.inputs import RunSummary, Summed
from evaluation.report.render import render_html
from evaluation.summed import ExactSum, NoisedSum, exact_vector, noised_vector, sum_of, vector_size
from protocol.errors import EvaluationError
from protocol.plan import Plan
from tests.conftest import PRIVATE, TINY, tiny_plan
from tests.evaluation.made_up_runs import draw_rows, draw_scores, make_private_summary, make_summary, noised
from tests.evaluation.test_report_content import with_round
from tests.evaluation.test_report_page import text_of

SITES = ("charite", "san-raffaele", "st-elsewhere", "uz-leuven")


def plan_of(n_classes: int = 2, *, private: bool = False) -> Plan:
    network = {"name": "Classifier", "args": {**TINY["network"]["args"], "classes": n_classes}}
    classes = [str(index) for index in range(n_classes)]
    return tiny_plan(**{**(PRIVATE if private else {}), "task.classes": classes, "network": network})


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_vectors_of_hospitals_add_up_to_the_pooled_figures(n_classes: int):
    plan = plan_of(n_classes)
    sites = [draw_scores(seed, 90, 1.0, n_classes=n_classes) for seed in range(4)]
    vectors = [exact_vector(plan, site) for site in sites] + [exact_vector(plan, None)]
    assert {vector.shape for vector in vectors} == {(vector_size(plan),)}
    total = sum_of(plan, np.sum(vectors, axis=0), 5)
    assert isinstance(total, ExactSum)
    assert pooled_classes([total]) == pooled_classes(sites)
    assert total.n == 360
    assert total.n_right / total.n == pytest.approx(np.mean([site.accuracy for site in sites]))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_noised_vectors_add_up_to_the_pooled_figures_with_the_noise_of_all(n_classes: int):
    plan = plan_of(n_classes, private=True)
    epsilon = plan.privacy.metrics_epsilon  # type: ignore[union-attr]
    sites = [noised(draw_rows(seed, 300, 1.0, n_classes=n_classes), seed, epsilon, "federated", "test") for seed in range(4)]
    vectors = [noised_vector(site.classes) for site in sites]
    assert {vector.shape for vector in vectors} == {(vector_size(plan),)}
    total = sum_of(plan, np.sum(vectors, axis=0), 4)
    assert isinstance(total, NoisedSum)
    assert pooled_classes([total]) == pooled_classes(sites)
    fewer = msgspec.structs.replace(total, n_silos=2)
    assert pooled_classes([fewer])[0].noise.variance < pooled_classes([total])[0].noise.variance  # type: ignore[union-attr]


@pytest.mark.parametrize("wrong", ["negative", "one too many", "more right than there are", "too short"])
def test_what_is_no_sum_of_counts_is_refused(wrong: str):
    plan = plan_of()
    vector = exact_vector(plan, draw_scores(1, 90, 1.0))
    if wrong == "negative":
        vector[[3, 4]] += [-7, 7]
    elif wrong == "one too many":
        vector[3] += 1
    elif wrong == "more right than there are":
        vector[-1] = 91
    else:
        vector = vector[:-1]
    with pytest.raises(EvaluationError, match="counts"):
        sum_of(plan, vector, 3)


# -------------------------------------------------------------------------------------------------------------- the report


def summed(summary: RunSummary) -> RunSummary:
    """The same run under a plan that lets only sums leave."""
    private = summary.privacy["mechanism"] != "none"
    plan = plan_of(private=private)

    def add(scores: list[Any]) -> Summed:
        if private:
            total = sum_of(plan, np.sum([noised_vector(one.classes) for one in scores], axis=0), len(scores))
            total = msgspec.structs.replace(total, scale=scores[0].scale, epsilon=scores[0].epsilon)
        else:
            total = sum_of(plan, np.sum([exact_vector(plan, one) for one in scores], axis=0), len(scores))
        return Summed(total, SITES[: len(scores)])

    sums = {}
    for kind in ("federated", "alone", "personalised"):
        if scores := [one for site in summary.sites if (one := getattr(site, kind)) is not None]:
            sums[kind] = add(scores)
    rounds = tuple(
        dataclasses.replace(one, validation={}, validation_sum=add(list(one.validation.values()))) for one in summary.rounds
    )
    sites = tuple(dataclasses.replace(site, federated=None, alone=None, personalised=None) for site in summary.sites)
    privacy = {**summary.privacy, "secure_aggregation": True, "scores": "summed"}
    return dataclasses.replace(summary, sums=sums, rounds=rounds, sites=sites, privacy=privacy)


@pytest.mark.parametrize("make", [make_summary, make_private_summary], ids=["open", "private"])
def test_a_report_of_sums_has_the_pooled_figures_of_one_of_single_scores_and_nothing_of_a_site(make: Any):
    single, whole = build_report(make(n_rounds=3)), build_report(summed(make(n_rounds=3)))
    assert list(single) == list(whole)
    assert whole["performance"]["global"] == single["performance"]["global"]
    assert [one["validation_global"] for one in whole["rounds"]] == [one["validation_global"] for one in single["rounds"]]
    assert whole["cohort"]["test_patients"] == single["cohort"]["test_patients"]
    for site in whole["sites"]:
        assert (site["auroc"]["value"], site["auroc"]["why"]) == (None, "only_sums")
        assert {str(site[key]) for key in ("alone", "personalised", "versus_alone", "positives_test")} == {"None"}
    assert single["performance"]["sums"] is None
    assert [one["kind"] for one in whole["performance"]["sums"]] == (
        ["federated"] if make is make_private_summary else ["federated", "alone", "personalised"]
    )
    assert "only sums of scores leave" in whole["outcome"]["sentence"]


@pytest.mark.parametrize("make", [make_summary, make_private_summary], ids=["open", "private"])
def test_the_page_of_sums_names_who_is_in_them_and_what_was_not_measured(make: Any):
    text = text_of(render_html(build_report(summed(make(n_rounds=3)))))
    assert "How well does it rank, all hospitals together?" in text
    assert "charite, san-raffaele, st-elsewhere, uz-leuven" in text
    assert text.count("not measured: the plan lets only sums leave (evaluation.scores: summed)") >= 4 + 2
    assert "Curves of single hospitals were not measured" in text
    for wrong in (
        "gave no score",
        "No clear difference",
        "Do hospitals differ",
        "on each hospital's own test",
        "Verdict",
    ):
        assert wrong not in text


def test_a_scoring_without_a_sum_says_why():
    summary = summed(make_summary(n_rounds=2))
    lost = Summed(None, (), "AggregationError: 2 masked vectors arrived, 3 are needed; nothing was revealed.")
    summary = dataclasses.replace(summary, sums={**summary.sums, "federated": lost})
    report = build_report(summary)
    assert report["performance"]["global"]["auroc"]["why"] == "no_score"
    text = text_of(render_html(report))
    assert "no sum 2 masked vectors arrived, 3 are needed; nothing was revealed" in text


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (lambda s: {"sites": make_summary(n_rounds=1).sites}, "single scores"),
        (lambda s: {"sums": {"federated": Summed(s.sums["federated"].total, ())}}, "over 0 sites"),
        (lambda s: {"sums": summed(make_private_summary(n_rounds=1)).sums}, "NoisedSum"),
    ],
)
def test_sums_that_do_not_fit_the_run_are_refused(changes: Any, says: str):
    summary = summed(make_summary(n_rounds=1))
    with pytest.raises(EvaluationError, match=says):
        build_report(dataclasses.replace(summary, **changes(summary)))


def test_noise_of_another_number_of_hospitals_than_the_sum_s_is_refused():
    summary = summed(make_private_summary(n_rounds=1))
    total = msgspec.structs.replace(summary.sums["federated"].total, n_silos=3)
    with pytest.raises(EvaluationError, match="noise of 3 hospitals in a sum over 4"):
        build_report(dataclasses.replace(summary, sums={"federated": Summed(total, SITES)}))


# -------------------------------------------------------------------------------------------------------- rejected rounds


def test_the_page_shows_which_rounds_the_guard_rejected_and_why():
    summary = make_summary(n_rounds=5)
    for index, reason in ((2, "the mean update is 9 long"), (3, "validation AUROC fell"), (4, "validation AUROC fell")):
        summary = with_round(summary, index, aggregated=(), rejected=reason)
    report = build_report(summary)
    assert [one["rejected"] for one in report["rounds"]] == [
        None,
        None,
        "the mean update is 9 long",
        *["validation AUROC fell"] * 2,
    ]
    text = text_of(render_html(report))
    assert "Round 3: the mean update is 9 long" in text
    assert "Rounds 4, 5: validation AUROC fell" in text
    assert "guard3 rejected" in text


def test_without_rejections_and_from_reports_of_earlier_releases_the_page_says_nothing_of_a_guard():
    report = build_report(make_summary(n_rounds=2))
    pages = [render_html(report)]
    for one in report["rounds"]:
        del one["rejected"]
    del report["performance"]["sums"]
    pages.append(render_html(report))
    for page in pages:
        assert "Rejected rounds" not in text_of(page)
    assert pages[0] == pages[1]
