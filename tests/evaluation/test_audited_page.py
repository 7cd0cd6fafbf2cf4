"""The page of a run with an audit: every group has a row, no verdict rests on colour, what is missing is said."""

from __future__ import annotations

import copy
import json

import pytest

from evaluation.report.finish import finished
from evaluation.report.plain import plain_summary
from evaluation.report.render import render_html
from tests.evaluation.made_up_audit import audit, audited_report, no_sum
from tests.evaluation.test_report_page import NASTY, Page, text_of


def spaced(html: str) -> str:
    """The text with a space between any two elements."""
    return " ".join(" ".join(Page(html).text).split())


@pytest.fixture(scope="module")
def report():
    return finished(audited_report(n_rounds=3))


@pytest.fixture(scope="module")
def html(report):
    return render_html(report)


def test_the_page_is_well_formed_and_loads_nothing(html):
    page = Page(html)
    ids = page.values("id")
    assert page.open == []
    assert len(ids) == len(set(ids))
    assert {value[1:] for value in page.values("href")} <= set(ids)
    assert not {"script", "link", "img", "image"} & set(page.tags)
    assert "://" not in html
    assert page.tags["caption"] == page.tags["table"]
    assert all(scope in ("col", "row", "rowgroup") for scope in page.values("scope"))
    assert len(page.values("scope")) == page.tags["th"]


def test_every_group_has_its_row_in_plot_and_table_however_small(report, html):
    text, page = text_of(html), Page(html)
    plot = next(value for tag, name, value in page.attributes if tag == "svg" and value.startswith("Forest plot of AUROC for"))
    for group in report["audit"]["classes"][0]["groups"]:
        if group["attribute"] != "all":
            assert f" {group['value']} " in plot
    assert "O not shown: fewer than 11 cases in a cell" in text
    assert "unknown not shown: it would give away a smaller group" in text
    assert "st-elsewhere took no part" in plot


def test_a_suppressed_group_gives_no_number_away(report, html):
    hidden = [group for group in report["audit"]["classes"][0]["groups"] if group["status"] == "suppressed"]
    assert hidden
    for group in hidden:
        row = html.split(f">{group['value']}</th>")[1].split("</tr>")[0]
        assert not any(letter.isdigit() for letter in text_of(row).replace("11", ""))


def test_the_first_page_answers_a_clinician_in_words(report):
    answers = {one["question"]: " ".join(one["sentences"]) for one in plain_summary(report)}
    assert list(answers) == [
        "What was trained?",
        "On whom?",
        "How well?",
        "For whom?",
        "At what cost to privacy?",
        "What was not evaluated?",
    ]
    assert "in 86 of 100 pairs (AUROC 0.861, 95% interval" in answers["How well?"]
    assert "it finds 78 of 100 with pneumonia" in answers["How well?"]
    assert "worst for F × 60-79 (sex × age): AUROC 0.806" in answers["For whom?"]
    assert (
        "2 differences of 6 beyond the plan's margin" in answers["For whom?"]
    )  # equalised odds follows from others: no seventh
    assert "too few to tell, which is no sign of fairness" in answers["For whom?"]
    assert "no differential privacy" in answers["At what cost to privacy?"]
    assert "keep this report inside the consortium" in answers["At what cost to privacy?"]
    assert "external validation" in answers["What was not evaluated?"]
    assert "sex O" in answers["What was not evaluated?"]
    first_page = text_of(render_html(report)).split("Was it worth it?")[0]
    assert "F1" not in first_page
    assert "ccuracy" not in first_page


def test_under_privacy_the_first_page_names_what_the_audit_cost(report):
    private = finished(audited_report(private=True, n_rounds=3, verdict="insufficient"))
    answers = {one["question"]: " ".join(one["sentences"]) for one in plain_summary(private)}
    assert "The audit itself cost a test patient epsilon 3" in answers["At what cost to privacy?"]
    text = text_of(render_html(private))
    assert "Noise is added to every count before it leaves (epsilon 3 for a test patient)" in text
    assert "and the audit by group (3)" in text
    assert "Events of" not in text


def test_what_bins_can_hide_is_said_beside_the_figure_and_only_where_it_matters(report):
    private = finished(audited_report(private=True, n_rounds=3))
    auroc = next(one for one in private["audit"]["classes"][0]["groups"] if one["attribute"] == "all")["auroc"]
    for bound, said in ((0.08, "up to 0.080 higher"), (0.001, None)):
        auroc["binning_bound"] = bound
        answer = " ".join(plain_summary(private)[2]["sentences"])
        assert (said in answer) if said else ("count as ties" not in answer)
    assert "count as ties" not in " ".join(plain_summary(report)[2]["sentences"])


def test_a_difference_that_no_patient_more_would_show_is_not_put_down_to_their_number(report):
    changed = copy.deepcopy(report)
    tests = [t for t in changed["audit"]["fairness"]["tests"] if t["verdict"] == "insufficient" and not t.get("same_as")]
    assert len(tests) > 1
    tests[0]["gap"]["value"] = None
    answer = " ".join(plain_summary(changed)[3]["sentences"])
    assert f"or {len(tests) - 1} of" in answer
    assert "and 1 of 6 could not be measured" in answer


def test_a_class_without_a_name_is_called_a_class(report):
    changed = copy.deepcopy(report)
    changed["audit"]["classes"][0]["name"] = "1"
    assert "one with class 1 and one without" in " ".join(plain_summary(changed)[2]["sentences"])


@pytest.mark.parametrize(
    ("verdict", "headline", "row"),
    [
        ("fail", "✗ No: at least one difference is beyond the plan's margin.", "✗ beyond the margin"),
        ("pass", "✓ All differences that were tested are within the plan's margins.", "✓ within the margin"),
        ("insufficient", "? It cannot be told", "? cannot be told"),
    ],
)
def test_verdicts_are_words_and_signs_not_colours(verdict, headline, row):
    text = text_of(render_html(finished(audited_report(n_rounds=2, verdict=verdict))))
    assert headline in text
    assert row in text


def test_a_gap_stands_beside_what_chance_gives_and_who_was_left_out_is_named(html):
    text = spaced(html)
    assert "0.082 0.032–0.132 F to M 0.024 0.05 < 0.001 0.002 ✗ beyond the margin" in text
    assert "– no margin in the plan" in text
    assert "comparisons were planned, and all were made. Missing from comparisons that were made:" in text
    assert "st-elsewhere, from the hospital comparison: took no part. O, from all sex comparisons: not shown" in text


def test_many_gaps_open_with_those_beyond_the_margin():
    report = finished(audited_report(n_rounds=2, n_classes=4))
    tests = report["audit"]["fairness"]["tests"] * 3
    report["audit"]["fairness"]["tests"] = tests
    text = text_of(render_html(report))
    assert f"All {len(tests)} gaps" in text
    assert "Gaps beyond the margin" in text


def test_one_threshold_makes_a_row_and_no_curve(report):
    changed = json.loads(json.dumps(report))
    one = changed["audit"]["classes"][0]
    one["decision_curve"] = one["decision_curve"][5:6]
    html = render_html(changed)
    point, page = one["decision_curve"][0], Page(html)
    assert not any(name == "aria-label" and value.startswith("Decision curve") for _, name, value in page.attributes)
    text = spaced(html)
    assert "The plan names one threshold that can be shown, so there is no curve." in text
    assert f"by the model {point['model']['value']:.3f}" in text
    assert f"everyone −{-point['treat_all']:.3f} nobody 0" in text


def test_without_audit_evidence_or_crosswalk_the_page_says_so(report):
    bare = {key: value for key, value in report.items() if key not in ("audit", "crosswalk")}
    text = text_of(render_html(bare))
    assert "The plan asked for no audit (evaluation.audit)" in text
    assert "No signed evidence came with this report." in text
    assert "No checks were recorded." in text
    assert "written without a crosswalk" in text
    assert "subgroups and fairness (sex, age, scanner)" in finished(bare)["not_evaluated"]


def test_a_sum_that_was_not_opened_is_no_result(report):
    lost = finished({**report, "audit": no_sum("too few hospitals were left to open a sum")})
    text = text_of(render_html(lost))
    assert "Not measured: too few hospitals were left to open a sum." in text
    assert "No difference between groups could be tested." in text
    assert "calibration" in lost["not_evaluated"]


def test_evidence_and_checks_are_shown(report):
    evidence = {"root": "sha256:ab", "receipts": {"charite": 12}, "cosigned_by": ["charite"], "sites": 3}
    checks = [
        {"name": "every receipt is signed", "status": "ok"},
        {"name": "one model a round", "status": "failed", "detail": "round 2: two models"},
        {"name": "the sums add up", "status": "not_checked"},
    ]
    text = spaced(render_html(finished({**report, "evidence": evidence, "checks": checks})))
    assert "root sha256:ab" in text
    assert "every receipt is signed ✓ holds" in text
    assert "one model a round ✗ does not hold round 2: two models" in text
    assert "the sums add up ? not checked" in text


def test_what_people_wrote_is_shown_not_run(report):
    changed = json.loads(json.dumps(report))
    one = changed["audit"]["classes"][0]
    one["name"] = NASTY
    for group in one["groups"]:
        group["value"] = NASTY
    for test in changed["audit"]["fairness"]["tests"]:
        test |= {"class": NASTY, "lowest": NASTY, "highest": NASTY, "left_out": {NASTY: NASTY}}
    changed |= {"evidence": {NASTY: NASTY}, "checks": [{"name": NASTY, "status": NASTY, "detail": NASTY}]}
    page = Page(render_html(changed))
    assert "script" not in page.tags
    assert page.open == []


@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_every_class_has_its_figures(n_classes):
    report = finished(audited_report(n_rounds=2, n_classes=n_classes))
    page = Page(render_html(report))
    labels = [value for tag, name, value in page.attributes if tag == "svg" and name == "aria-label"]
    expected = 1 if n_classes == 2 else n_classes
    assert sum(label.startswith("Calibration plot") for label in labels) == expected
    assert sum(label.startswith("Decision curve") for label in labels) == expected
    assert sum(label.startswith("Distribution of scores") for label in labels) == expected
    assert sum(label.startswith("Forest plot of AUROC for") for label in labels) == 2 * expected


def test_figures_that_may_not_be_shown_are_named_in_their_place(report):
    changed = json.loads(json.dumps(report))
    one = changed["audit"]["classes"][0]
    one |= {"calibration_curve": [], "score_distribution": None}
    for each in one["decision_curve"]:
        each |= {"model": audit()["classes"][0]["groups"][7]["auroc"], "treat_all": None}
    text = text_of(render_html(changed))
    assert "Calibration: no bin is large enough to be shown." in text
    assert "Decision curve: no threshold can be shown." in text
    assert "Distribution of scores: not shown" in text
