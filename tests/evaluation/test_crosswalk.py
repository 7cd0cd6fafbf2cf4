"""The crosswalk: it points at fields that reports have, says what is not there, and never judges."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from evaluation.report import crosswalk as module
from evaluation.report.build import build_report
from evaluation.report.crosswalk import crosswalk
from tests.evaluation.made_up_audit import audited_report
from tests.evaluation.made_up_runs import make_summary


@pytest.fixture(scope="module")
def full():
    """A report with every field that the crosswalk may name; the plan of made-up runs is a stub."""
    report = audited_report(n_rounds=2)
    parts = ("data", "training", "network", "evaluation", "federation")
    report["plan"]["content"] |= {part: {"given": True} for part in parts}
    return report | {"evidence": {"root": "sha256:ab"}, "checks": [{"name": "signed", "status": "ok"}]}


def items(found):
    return [item for standard in found["standards"] for item in standard["requirements"]]


def test_every_field_it_names_is_a_field_of_a_full_report(full):
    assert not [item["id"] for item in items(crosswalk(full)) if any("(not in this report)" in one for one in item["missing"])]


def test_what_this_report_does_not_hold_is_missing_not_evidence(full):
    plain = crosswalk(build_report(make_summary({"a": 40}, n_rounds=1)))
    fairness = next(item for item in items(plain) if item["id"] == "14")
    assert fairness["state"] == "none"
    assert fairness["missing"][0] == "fairness tests (not in this report)"
    assert next(item for item in items(crosswalk(full)) if item["id"] == "14")["state"] == "part"  # reasons are never there
    assert next(item for item in items(crosswalk(full)) if item["id"] == "23a")["state"] == "evidence"


def test_an_item_with_some_of_its_fields_is_in_part(full):
    some = {key: value for key, value in full.items() if key != "evidence"}
    assert next(item for item in items(crosswalk(some)) if item["id"] == "Art. 12")["state"] == "part"


def test_an_item_without_evidence_says_what_is_missing(full):
    for item in items(crosswalk(full)):
        assert bool(item["missing"]) is (item["state"] != "evidence")


def test_what_differential_privacy_withholds_is_no_evidence():
    found = items(crosswalk(audited_report(n_rounds=1, private=True)))
    participants = next(item for item in found if item["id"] == "20b")
    assert "cohort.n_patients" not in participants["fields"]
    assert participants["missing"][0] == "patients and images by hospital (not in this report)"
    assert "outcome.versus_alone" not in next(item for item in found if item["id"] == "Universality: local validity")["fields"]


def test_it_has_the_five_standards_and_a_version(full):
    found = crosswalk(full)
    names = [standard["name"] for standard in found["standards"]]
    assert names == ["TRIPOD+AI", "CLAIM 2024", "FUTURE-AI", "EU AI Act", "FDA lifecycle guidance"]
    assert re.fullmatch(r"\d{4}\.\d{2}", found["version"])


def test_neither_the_file_nor_the_page_judges_whether_a_standard_is_met():
    folder = Path(module.__file__).parent
    for name in ("crosswalk.yaml", "template_crosswalk.html.j2", "crosswalk.py"):
        assert not re.search(r"complian|conform|satisf|fulfil", (folder / name).read_text(encoding="utf-8"), re.IGNORECASE)
