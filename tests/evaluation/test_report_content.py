"""report.json: its shape, its honesty about what is missing, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import msgspec
import pytest

from evaluation.comparison import PAIRED, UNPAIRED
from evaluation.report.build import SCHEMA_VERSION, build_report
from evaluation.report.inputs import RunSummary
from evaluation.report.render import render_html
from protocol.canonical import digest_json
from protocol.errors import EvaluationError
from tests.evaluation.made_up_runs import draw_scores, make_summary

KEYS = [
    "schema_version", "job", "title", "generated_at", "intended_use", "outcome", "model", "plan", "cohort", "privacy",
    "performance", "audit", "mitigation", "sites", "rounds", "lineage", "methods", "limitations", "not_evaluated", "software",
    "arithmetic", "crosswalk",
]  # fmt: skip


def with_site(summary: RunSummary, index: int, **changes: Any) -> RunSummary:
    sites = list(summary.sites)
    sites[index] = dataclasses.replace(sites[index], **changes)
    return dataclasses.replace(summary, sites=tuple(sites))


def with_round(summary: RunSummary, index: int, **changes: Any) -> RunSummary:
    rounds = list(summary.rounds)
    rounds[index] = dataclasses.replace(rounds[index], **changes)
    return dataclasses.replace(summary, rounds=tuple(rounds))


def test_shape_and_order_are_stable_and_json_gives_it_back():
    report = build_report(make_summary(n_rounds=3))
    assert list(report) == KEYS
    assert report["schema_version"] == SCHEMA_VERSION
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report == build_report(make_summary(n_rounds=3))


def test_site_entries_hold_what_others_rely_on():
    report = build_report(make_summary(n_rounds=2))
    assert [site["id"] for site in report["sites"]] == ["charite", "san-raffaele", "st-elsewhere", "uz-leuven"]
    charite, small = report["sites"][0], report["sites"][2]
    assert charite["n_train"] == 1260
    assert charite["n_test"] == 420
    for kind in ("auroc", "alone", "personalised"):
        assert {"value", "lo", "hi", "method", "n_band", "status"} <= set(charite[kind])
        assert charite[kind]["lo"] < charite[kind]["value"] < charite[kind]["hi"]
        assert small[kind]["status"] == "not_estimable"
        assert small[kind]["value"] is None
    assert charite["versus_alone"]["federated"]["verdict"] == "better"
    assert small["versus_alone"]["federated"]["verdict"] == "not_estimable"
    assert report["performance"]["global"]["auroc"]["binning_bound"] < 0.01
    assert report["performance"]["stratified"]["n_sites"] == 3
    values = {site["id"]: site["auroc"]["value"] for site in report["sites"] if site["auroc"]["value"] is not None}
    assert report["performance"]["worst_site"]["id"] == min(values, key=values.__getitem__)


def test_outcome_counts_every_hospital():
    outcome = build_report(make_summary(n_rounds=2))["outcome"]
    assert outcome["versus_alone"] == {
        "better": ["charite", "san-raffaele"],
        "worse": [],
        "no_clear_difference": ["uz-leuven"],
        "not_estimable": ["st-elsewhere"],
    }
    assert outcome["sentence"] == (
        "4 hospitals trained one model together in 2 rounds. At 2 of the 3 hospitals that can be compared it ranks test images "
        "better than that hospital's own model; at 1 the difference is not clear. 1 hospital has too few test images to tell."
    )


def test_without_baseline_and_personalised_models_nothing_is_claimed():
    report = build_report(make_summary(n_rounds=1, alone=False, personalised=False))
    assert report["outcome"]["sentence"].endswith("It was not compared with models that hospitals trained alone.")
    for site in report["sites"]:
        assert (site["alone"], site["personalised"], site["versus_alone"]) == (None, None, None)


def test_a_hospital_that_is_worse_off_is_named_in_the_outcome():
    federated, alone = draw_scores(9, 420, 1.0), draw_scores(9, 420, 3.0, kind="alone")
    report = build_report(with_site(make_summary(n_rounds=1), 0, federated=federated, alone=alone, personalised=None))
    assert report["outcome"]["versus_alone"]["worse"] == ["charite"]
    assert "at 1 it ranks them worse" in report["outcome"]["sentence"]


def test_a_site_that_was_never_scored_is_kept_without_figures():
    report = build_report(with_site(make_summary(n_rounds=1), 0, federated=None))
    site = report["sites"][0]
    assert (site["auroc"]["status"], site["auroc"]["method"]) == ("not_estimable", "not scored")
    assert site["positives_test"] is None
    assert report["performance"]["global"]["n_sites"] == 3


def test_a_site_that_never_answered_is_kept():
    nothing = {"n_patients": 0, "n_train": 0, "n_validation": 0, "n_test": 0, "class_counts_train": (), "store_digest": ""}
    summary = with_site(make_summary(n_rounds=1), 3, federated=None, alone=None, personalised=None, **nothing)
    report = build_report(summary)
    assert report["cohort"]["n_sites"] == 4
    assert report["sites"][2]["class_counts_train"] == {}
    assert "not recorded" in render_html(report)


NO_LABEL = "CohortError: no patient of this cohort has the label 'finding'; see data.label."


def without_a_third(*, described: bool = False) -> RunSummary:
    """Three hospitals; c failed in every round: it never described its cohort, or could not train and was not scored."""
    summary = make_summary({"a": 260, "b": 110, "c": 60}, n_rounds=3)
    nothing = {"n_patients": 0, "n_train": 0, "n_validation": 0, "n_test": 0, "class_counts_train": (), "store_digest": ""}
    summary = with_site(summary, 2, federated=None, alone=None, personalised=None, **({} if described else nothing))
    for index, one in enumerate(summary.rounds):
        kept = {
            name: {site: value for site, value in getattr(one, name).items() if site != "c"}
            for name in ("train_loss", "validation")
        }
        summary = with_round(summary, index, trained=("a", "b"), aggregated=("a", "b"), failures={"c": NO_LABEL}, **kept)
    return summary


def test_a_hospital_that_failed_in_every_round_is_named_with_its_reason():
    report = build_report(without_a_third())
    assert report["outcome"]["sentence"].startswith(
        "2 hospitals trained one model together in 3 rounds. A third hospital, c, never took part in training: no patient of "
        "this cohort has the label 'finding'; see data.label. At "
    )
    assert report["outcome"]["never_trained"] == {"c": NO_LABEL}
    assert report["outcome"]["versus_alone"]["not_estimable"] == ["c"]
    assert "too few test images" not in report["outcome"]["sentence"]
    counts = {key: report["cohort"][key] for key in ("n_sites", "n_sites_described", "n_sites_trained")}
    assert counts == {"n_sites": 3, "n_sites_described": 2, "n_sites_trained": 2}
    site = report["sites"][2]
    assert (site["never_trained"], site["auroc"]["why"]) == (NO_LABEL, "took_no_part")
    assert report["sites"][0]["never_trained"] is None


def test_a_hospital_that_described_its_cohort_but_never_trained_is_counted_apart():
    report = build_report(without_a_third(described=True))
    assert "A third hospital, c, never took part" in report["outcome"]["sentence"]
    assert report["cohort"]["n_sites_described"] == 3
    assert report["cohort"]["n_sites_trained"] == 2


def test_many_absent_hospitals_are_all_named():
    summary = make_summary(dict.fromkeys("abcdef", 40), n_rounds=1)
    few = with_round(summary, 0, trained=("a",), aggregated=("a",), failures=dict.fromkeys("bcdef", "unreachable: gone"))
    assert "5 more hospitals never took part in training: b, c, d, e, f." in build_report(few)["outcome"]["sentence"]
    some = with_round(summary, 0, trained=tuple("abcd"), aggregated=tuple("abcd"), failures={"e": "unreachable: gone."})
    assert "e (unreachable: gone), f (no reason was recorded)." in build_report(some)["outcome"]["sentence"]


def test_each_missing_figure_says_what_is_missing():
    (one,) = draw_scores(4, 60, 1.0).classes
    single = msgspec.structs.replace(
        draw_scores(4, 60, 1.0), classes=(msgspec.structs.replace(one, auroc=None, auroc_variance=None),)
    )
    summary = with_site(make_summary(n_rounds=1), 0, federated=single, n_test=60, alone=None, personalised=None)
    report = build_report(with_site(summary, 1, federated=None))
    whys = {site["id"]: site["auroc"].get("why") for site in report["sites"]}
    assert whys == {"charite": "one_patient", "san-raffaele": "no_score", "st-elsewhere": "too_few_images", "uz-leuven": None}
    sentence = report["outcome"]["sentence"]
    assert "1 hospital has too few test images to tell. 1 hospital has test images of one patient only in a class" in sentence
    assert sentence.endswith("1 hospital could not be compared: a score or its own model is missing.")


def test_no_site_scored_at_all():
    summary = make_summary({"a": 40}, n_rounds=0)
    report = build_report(with_site(summary, 0, federated=None, alone=None, personalised=None))
    assert report["performance"]["global"]["auroc"]["value"] is None
    assert report["performance"]["worst_site"] is None
    assert report["outcome"]["sentence"].startswith("0 hospitals trained a model in 0 rounds.")


def test_multi_class_runs_show_each_class_and_their_mean():
    report = build_report(make_summary(n_rounds=1, n_classes=3))
    assert [one["name"] for one in report["performance"]["global"]["classes"]] == ["no finding", "pneumonia", "effusion"]
    assert "mean over 3 of 3 classes" in report["sites"][0]["auroc"]["method"]
    assert report["sites"][2]["auroc"]["value"] is None


def test_site_without_one_class_has_no_figure_but_stays():
    one_class = draw_scores(4, 60, 1.0, prevalence=0.0)
    report = build_report(with_site(make_summary(n_rounds=1), 1, federated=one_class, n_test=60))
    site = report["sites"][1]
    assert site["auroc"]["status"] == "not_estimable"
    assert site["positives_test"] == {"pneumonia": 0}


def test_rounds_keep_who_failed_and_why_and_pool_the_validation():
    rounds = build_report(make_summary(n_rounds=4))["rounds"]
    assert [one["round"] for one in rounds] == [1, 2, 3, 4]
    assert "st-elsewhere" not in rounds[2]["aggregated"]
    assert "deadline" in rounds[2]["failures"]["st-elsewhere"]
    assert rounds[0]["validation_global"]["status"] == "ok"
    assert rounds[0]["validation"]["st-elsewhere"]["status"] == "not_estimable"


def test_rounds_without_validation_say_so():
    rounds = build_report(with_round(make_summary(n_rounds=1), 0, validation={}))["rounds"]
    assert rounds[0]["validation_global"] is None


def test_privacy_is_printed_as_infinite():
    assert build_report(make_summary(n_rounds=1))["privacy"]["statement"] == "epsilon: infinite (no differential privacy)"


@pytest.mark.parametrize(
    "changes",
    [
        {"sites": ()},
        {"generated_at": "yesterday"},
        {"plan_digest": "sha256:" + "00" * 32},
        {"privacy": {"mechanism": "local", "secure_aggregation": False}},
        {"privacy": {"mechanism": "none", "secure_aggregation": None}},
        {"privacy": {}},
        {"model": {"digest": float("nan")}},
        {"software": {"fedward": object()}},
    ],
)
def test_absurd_summary_is_refused(changes):
    with pytest.raises(EvaluationError):
        build_report(dataclasses.replace(make_summary({"a": 40, "b": 40}, n_rounds=1), **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "b"},
        {"n_train": -1},
        {"class_counts_train": (1, 2, 3)},
        {"federated": draw_scores(1, 40, 1.0, n_classes=3)},
        {"federated": None, "n_patients": -3},
    ],
)
def test_absurd_site_is_refused(changes):
    with pytest.raises(EvaluationError):
        build_report(with_site(make_summary({"a": 40, "b": 40}, n_rounds=1), 0, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"seconds": float("inf")},
        {"round": -1},
        {"trained": ("a",), "aggregated": ("a", "b")},
        {"trained": ("a", "nobody")},
        {"train_loss": {"a": float("nan")}},
    ],
)
def test_absurd_round_is_refused(changes):
    with pytest.raises(EvaluationError):
        build_report(with_round(make_summary({"a": 40, "b": 40}, n_rounds=1), 0, **changes))


@pytest.mark.parametrize(
    "damage",
    [
        {"loss": float("nan")},
        {"accuracy": 1.5},
        {"n": 41},
        {"classes": ()},
    ],
)
def test_absurd_scores_are_refused(damage):
    summary = make_summary({"a": 40, "b": 40}, n_rounds=1)
    scores = summary.sites[0].federated
    broken = type(scores)(**{name: damage.get(name, getattr(scores, name)) for name in scores.__struct_fields__})
    with pytest.raises(EvaluationError):
        build_report(with_site(summary, 0, federated=broken))


@pytest.mark.parametrize("damage", [{"auroc": 1.5}, {"auroc": None}, {"histogram_positive": (1,)}, {"n_positive": -1}])
def test_absurd_class_scores_are_refused(damage):
    summary = make_summary({"a": 40, "b": 40}, n_rounds=1)
    scores = summary.sites[0].federated
    (one,) = scores.classes
    broken = type(one)(**{name: damage.get(name, getattr(one, name)) for name in one.__struct_fields__})
    scores = type(scores)(**{name: getattr(scores, name) for name in scores.__struct_fields__} | {"classes": (broken,)})
    with pytest.raises(EvaluationError):
        build_report(with_site(summary, 0, federated=scores))


def with_covariance(summary: RunSummary, covariance: float | None) -> RunSummary:
    """The first site's federated and personalised models with another covariance."""
    models = {"federated": summary.sites[0].federated, "personalised": summary.sites[0].personalised}
    changed = {
        kind: msgspec.structs.replace(
            model, classes=tuple(msgspec.structs.replace(one, covariance_with_alone=covariance) for one in model.classes)
        )
        for kind, model in models.items()
    }
    return with_site(summary, 0, **changed)


def test_difference_says_how_it_was_judged_and_at_which_level():
    report = build_report(with_covariance(make_summary(n_rounds=1), None))
    methods = {site["id"]: site["versus_alone"]["federated"]["method"] for site in report["sites"]}
    assert methods == {"charite": UNPAIRED, "san-raffaele": PAIRED, "st-elsewhere": None, "uz-leuven": PAIRED}
    assert {site["versus_alone"]["personalised"]["alpha"] for site in report["sites"]} == {0.05}


@pytest.mark.parametrize("covariance", [1.0, -1.0, float("nan"), float("inf")])
def test_impossible_covariance_is_refused_with_the_site_s_name(covariance):
    with pytest.raises(EvaluationError, match="site charite, federated"):
        build_report(with_covariance(make_summary(n_rounds=1), covariance))


def test_covariance_of_models_scored_on_other_cases_is_refused():
    with pytest.raises(EvaluationError, match="other cases"):
        build_report(with_site(make_summary(n_rounds=1), 0, alone=draw_scores(77, 420, 1.0, kind="alone")))


def test_classes_without_names_are_numbered():
    plan = {"name": "demo"}
    summary = dataclasses.replace(make_summary({"a": 40}, n_rounds=1), plan=plan, plan_digest=digest_json(plan))
    assert build_report(summary)["cohort"]["class_names"] == ["class 0", "class 1"]
