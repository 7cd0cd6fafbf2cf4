"""What was done against unequal service, before and after, on the page."""

from __future__ import annotations

from evaluation.report.finish import finished
from evaluation.report.render import render_html
from tests.evaluation.made_up_audit import audited_report, estimate
from tests.evaluation.test_report_page import Page


def calibrated(slope: float) -> dict[str, object]:
    parts = {
        "intercept": estimate(0.1, 0.2, 120),
        "slope": estimate(slope, 0.1, 120),
        "observed_expected": estimate(1.0, 0.1, 120),
    }
    figures = {"auroc": estimate(0.86, 0.02, 120), "loss": 0.4, "classes": [{"name": "pneumonia", "calibration": parts}]}
    return {**figures, "sites": [{"id": "charite", **figures}]}


def called(sensitivity: float) -> dict[str, object]:
    rates = {"sensitivity": estimate(sensitivity, 0.1, 120), "specificity": estimate(None, 0.0, 0, why="small_cell")}
    one = {"name": "pneumonia", "all": rates, "sites": [{"id": "charite", **rates}], "without": []}
    return {"threshold": 0.5, "classes": [one]}


def test_before_and_after_stand_side_by_side():
    entries = [
        {
            "kind": "recalibrate",
            "settings": {"method": "platt"},
            "before": calibrated(0.71),
            "after": calibrated(0.98),
            "note": "N",
        },
        {
            "kind": "site_threshold",
            "settings": {"sensitivity": 0.9},
            "before": called(0.62),
            "after": called(0.88),
            "note": "N",
        },
        {
            "kind": "worst_site",
            "settings": {"fairness_rate": 0.1},
            "before": None,
            "after": None,
            "note": "These weights show only beside another job.",
            "rounds": [{"round": 1, "weights": {"charite": 0.25}}, {"round": 2, "weights": {"charite": 0.61}}],
        },
        {
            "kind": "q_ffl",
            "settings": {},
            "before": None,
            "after": None,
            "note": "N",
            "rounds": [{"round": 1, "weights": None}],
        },
    ]
    page = Page(render_html(finished({**audited_report(n_rounds=1), "mitigation": entries})))
    text = " ".join(" ".join(page.text).split())
    assert page.open == []
    assert "slope 0.710 0.610 to 0.810 0.980 0.880 to 1.080" in text
    assert "sensitivity 0.620 0.520 to 0.720 0.880 0.780 to 0.980" in text
    assert "charite 0.250 0.610 0.61" in text
    assert "nobody knows a single one" in text
    assert "not shown: fewer than 11 cases in a cell" in text


def test_nothing_is_said_where_nothing_was_done():
    assert "unequal service" not in render_html(finished({**audited_report(n_rounds=1), "mitigation": []}))


def text_of_page(*entries: dict[str, object]) -> str:
    page = Page(render_html(finished({**audited_report(n_rounds=1), "mitigation": list(entries)})))
    return " ".join(" ".join(page.text).split())


def test_hospitals_without_a_threshold_of_their_own_are_named():
    after = called(0.88)
    after["classes"][0]["without"] = ["uz-leuven", "st-elsewhere"]
    one = {"kind": "site_threshold", "settings": {}, "before": called(0.62), "after": after, "note": "N"}
    text = text_of_page(one)
    assert "too few positives in validation, and not in the rows: st-elsewhere, uz-leuven." in text
    assert "From 0.5 From its own" in text


def test_a_recalibrated_model_that_nobody_scored_is_said_to_be_that():
    one = {"kind": "recalibrate", "settings": {"method": "platt"}, "before": calibrated(0.71), "after": None, "note": "N"}
    assert "was not scored, so there is nothing to compare" in text_of_page(one)


def test_weights_that_are_withheld_are_not_called_masked():
    settings = {"fairness_measure": "auroc", "fairness_rate": 2.0, "fairness_loss_bound": 2.0}
    one = {"kind": "worst_site", "settings": settings, "before": None, "after": None, "note": "N", "why": "small_cell"}
    text = text_of_page(one | {"rounds": [{"round": 1, "weights": None}]})
    assert "of which some rest on too few images" in text
    assert "masked with its weight" not in text
    assert "by auroc · rate 2.0" in text
    assert "a loss counts" not in text  # it does not enter
