"""A report that other formulas made is refused by name: neither said to hold nor called false."""

from __future__ import annotations

import json

import pytest

from evaluation.report.arithmetic import ARITHMETIC
from protocol.errors import InputError
from protocol.plan import Plan
from tests.evaluation.verify.jobs import Case, broken, words


def test_every_report_says_by_which_formulas_it_was_made(open_job: Case) -> None:
    assert json.loads(open_job.report)["arithmetic"] == ARITHMETIC


@pytest.mark.parametrize("told", [ARITHMETIC + 1, 0, "1", True, None])
def test_a_report_of_other_formulas_is_refused_by_name(open_job: Case, told: object) -> None:
    job = open_job.copy()
    job.put_report(lambda report: report.update(arithmetic=told) if told is not None else report.pop("arithmetic"))
    with pytest.raises(InputError, match=rf"this release checks {ARITHMETIC}\."):
        job.verify()


def test_an_older_verifier_says_so_too(open_job: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluation.report.arithmetic.ARITHMETIC", ARITHMETIC + 1)
    with pytest.raises(InputError, match=f"made with arithmetic {ARITHMETIC}; this release checks {ARITHMETIC + 1}"):
        open_job.copy().verify()


def test_without_the_report_the_rest_can_still_be_checked(open_job: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluation.report.arithmetic.ARITHMETIC", ARITHMETIC + 1)
    assert open_job.copy().verify(again=False, report=False).sound


def test_what_is_no_json_is_broken_and_not_of_another_arithmetic(open_job: Case) -> None:
    job = open_job.copy()
    job.report = b"{"
    assert not job.verify().sound


def test_another_arithmetic_excuses_nothing_else(open_job: Case) -> None:
    job = open_job.copy()
    job.put_report(lambda report: report.update(arithmetic=ARITHMETIC + 1))
    unsigned = job.verify(again=False)
    assert ("report", "report") in broken(unsigned)  # not the one that was signed
    job.put_lines("s1", job.lines("s1")[:-1])
    findings = job.verify()
    assert ("receipts", "s1") in broken(findings)
    assert f"unchecked report report: report.json was made with arithmetic {ARITHMETIC + 1}" in words(findings)


def test_a_plan_of_another_release_is_called_that_and_not_changed(open_job: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def with_new_key(data: bytes) -> Plan:
        return Plan.model_validate_json(json.dumps({**json.loads(data), "title": "a key that the other release did not have"}))

    monkeypatch.setattr("evaluation.verify.opened.parse_canonical", with_new_key)
    findings = open_job.copy().verify(again=False)
    assert not findings.sound
    assert "another release of fedward wrote it" in words(findings)
    assert "it was changed" not in words(findings)
