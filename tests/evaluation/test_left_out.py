"""In plain words: how many comparisons were planned, which could not be made and why, and who is missing from the others."""

from __future__ import annotations

from typing import Any

from evaluation.report.finish import finished
from evaluation.report.left_out import comparisons, why_unmade, with_reasons
from evaluation.report.render import render_html
from tests.evaluation.made_up_audit import audited_report
from tests.evaluation.test_report_page import text_of

NOTHING = {"value": None, "lo": None, "hi": None}
GAP = {"value": 0.1, "lo": 0.0, "hi": 0.2}


def row(attribute: str, figure: str, groups: list[str], left_out: dict[str, str], **more: Any) -> dict[str, Any]:
    gap = GAP if len(groups) > 1 else NOTHING
    fields = {"class": "opacity", "attribute": attribute, "figure": figure, "threshold": None, "gap": gap}
    return fields | {"groups": groups, "left_out": left_out} | more


def test_where_all_were_made_nothing_else_is_said():
    told = comparisons([row("sex", "auroc", ["F", "M"], {}), row("site", "auroc", ["a", "b"], {})], 11, private=False)
    assert told == {"said": "2 comparisons were planned, and all were made.", "unmade": [], "missing": []}


def test_what_could_not_be_made_is_counted_and_says_why():
    rows = [
        row("site", "auroc", ["a", "b"], {}),
        row("site", "calibration_slope", [], {"a": "not_estimable", "b": "not_estimable"}),
        row("sex", "sensitivity", ["F"], {"M": "small_cell", "O": "complement"}, threshold=0.5),
        row("sex", "auroc", ["F"], {"M": "small_cell", "O": "complement"}),
    ]
    told = comparisons(rows, 11, private=True)
    assert told["said"] == "4 comparisons were planned; 1 could be made and 3 could not:"
    assert told["unmade"] == [
        "Hospital, Calibration slope: no group has a figure; a, b: bins too wide for a slope.",
        "Sex, Sensitivity (equal opportunity) from 0.5; AUROC: only F has a figure; M: not shown: fewer than 11 cases in a "
        "cell; O: not shown: it would give away a smaller group.",
    ]
    assert told["missing"] == []


def test_without_noise_a_slope_is_not_blamed_on_the_bins():
    slope = row("site", "calibration_slope", [], {"a": "not_estimable"})
    assert "no slope fits" in comparisons([slope], 11, private=False)["unmade"][0]
    assert why_unmade(slope, True) == "bins too wide for slopes"
    assert why_unmade(slope, False) == "too few groups with a figure"
    assert why_unmade(slope | {"left_out": {"a": "too_much_noise"}}, True) == "too few groups with a figure"


def test_who_is_missing_from_some_and_from_all_is_told_apart():
    rows = [
        row("sex", "auroc", ["F", "M"], {"O": "too_few", "X": "too_few"}),
        row("sex", "observed_expected", ["F", "M"], {"O": "too_few", "X": "too_few", "unknown": "unknown"}),
    ]
    assert comparisons(rows, 11, private=False)["missing"] == [
        "O, X, from all sex comparisons: too few cases.",
        "unknown, from 1 of 2 sex comparisons (Observed / expected): its patients may be anyone.",
    ]


def test_what_follows_from_other_rows_points_to_them_and_needs_both_rates():
    odds = row("site", "equalised_odds", [], {"a": "small_cell", "b": "small_cell"}, same_as="sensitivity, false_positive_rate")
    assert why_unmade(odds, False) == "see sensitivity, false positive rate"
    told = comparisons([odds], 11, private=False)["unmade"]
    assert told[0].endswith("no group has both rates; a, b: not shown: fewer than 11 cases in a cell.")


def test_several_classes_name_theirs():
    rows = [row("sex", "auroc", [], {"F": "too_few"}), row("sex", "auroc", [], {"F": "too_few"}, **{"class": "nodule"})]
    told = comparisons(rows, 11, private=False)["unmade"]
    assert [one.split(":")[0] for one in told] == ["Sex, opacity, AUROC", "Sex, nodule, AUROC"]


def test_a_private_page_says_of_a_missing_slope_that_bins_are_too_wide_and_what_would_help():
    report = finished(audited_report(private=True, n_rounds=2))
    missing = {"value": None, "lo": None, "hi": None, "method": "none", "n_band": "30-99", "status": "not_estimable"}
    for group in report["audit"]["classes"][0]["groups"]:
        group["calibration"]["slope"] = missing | {"why": "no_solution"}
    text = text_of(render_html(report))
    assert "no solution" not in text
    assert "bins too wide for a slope" in text
    assert "counted in 17 bins that are the same for every run" in text
    assert "scores that are less extreme would" in text
    with_slopes = text_of(render_html(finished(audited_report(private=True, n_rounds=2))))
    assert "too wide for a slope" not in with_slopes


def test_a_rate_that_is_withheld_for_another_group_s_sake_is_not_called_a_small_cell():
    hidden = {rate: {"value": None, "why": why} for rate, why in (("sensitivity", "small_cell"), ("specificity", "complement"))}
    group = {"attribute": "site", "value": "c", "operating_points": [{"threshold": 0.5, **hidden}]}
    rows = [
        row("site", figure, ["a", "b"], {"c": "small_cell"}, threshold=0.5, same_as=same)
        for figure, same in (
            ("sensitivity", None),
            ("false_positive_rate", None),
            ("equalised_odds", "sensitivity, false_positive_rate"),
            ("underdiagnosis", "false_positive_rate"),
        )
    ]
    told = with_reasons(rows, [{"name": "opacity", "groups": [group]}])
    assert [one["left_out"]["c"] for one in told] == ["small_cell", "complement", "small_cell", "complement"]
    auroc = row("site", "auroc", ["a", "b"], {"c": "small_cell"})
    assert with_reasons([auroc], [{"name": "opacity", "groups": [group]}]) == [auroc]
