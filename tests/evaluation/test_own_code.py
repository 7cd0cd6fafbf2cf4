"""A report says that a plan brought a program, shows it whole, and compares it by its digest."""

from __future__ import annotations

import copy
import html
import re

import pytest

from aggregator.tracking.card import model_card
from evaluation.report.build import build_report
from evaluation.report.compare import compare_reports
from evaluation.report.finish import finished
from evaluation.report.own_code import own_code, plan_view, without_source
from evaluation.report.render import render_html
from protocol.canonical import digest_bytes
from tests.evaluation.made_up_runs import make_summary

MODULE = "from torch import nn\n\n\nclass Small(nn.Module):\n    pass  # </pre><script>alert(1)</script> \u202e\n"


def with_program(report, source=MODULE, loss="cross_entropy"):
    other = copy.deepcopy(report)
    plan = other["plan"]["content"]
    plan["code"] = {"file": "mine.py", "sha256": digest_bytes(source.encode()), "source": source}
    plan["network"] = {"name": "code.Small", "args": {}}
    plan["training"] = {**plan.get("training", {}), "loss": {"name": loss}}
    return other


@pytest.fixture(scope="module")
def report():
    return finished(build_report(make_summary()))


def test_the_page_names_the_program_and_shows_it_as_text(report):
    told = with_program(report)
    page = render_html(told)
    sentence = own_code(told["plan"]["content"])
    assert sentence is not None
    assert html.escape(sentence) in page
    assert f"mine.py, 5 lines, {digest_bytes(MODULE.encode())}" in sentence
    assert "for the network:" in sentence
    assert "<script" not in page
    assert "\u202e" not in page
    shown = html.unescape(re.search(r"The plan, as approved</summary><pre[^>]*>(.*?)</pre>", page, re.DOTALL)[1])
    assert '"class Small(nn.Module):",' in shown


def test_a_plan_without_a_program_is_told_as_before(report):
    assert own_code(report["plan"]["content"]) is None
    assert "Own code." not in render_html(report)
    assert plan_view(report["plan"]["content"]) == without_source(report["plan"]["content"]) == report["plan"]["content"]


def test_under_privacy_it_is_said_for_which_programs_epsilon_holds(report):
    told = with_program(report)["plan"]["content"]
    private = {**told, "privacy": {**told.get("privacy", {}), "mechanism": "local"}}
    assert "whatever it computes" in (own_code(private) or "")
    assert "whatever it computes" not in (own_code({**told, "privacy": {"mechanism": "none"}}) or "")


def test_a_program_for_both_is_said_to_be_for_both(report):
    assert "for the network and the loss:" in (own_code(with_program(report, loss="code.focal")["plan"]["content"]) or "")


def test_programs_are_compared_by_digest_and_not_by_a_hundred_thousand_characters(report):
    long = MODULE + "# x\n" * 20_000
    for other, keys in ((report, {"code"}), (with_program(report, long), {"code.sha256", "code.source"})):
        found = {
            row["key"]: row for row in compare_reports(other, with_program(report))["plan"] if row["key"].startswith("code")
        }
        assert found.keys() == keys
        assert len(str(found)) < 1000
    assert found["code.source"]["a"] == "20,005 lines"


def test_the_model_s_card_says_it_too(report):
    told = with_program(report)
    assert digest_bytes(MODULE.encode()) in model_card(told)
    assert "program of its own" not in model_card(report)
