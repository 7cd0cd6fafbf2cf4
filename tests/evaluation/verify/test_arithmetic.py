"""A report that other formulas made is refused by name: neither said to hold nor called false."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evaluation.report.arithmetic import ARITHMETIC
from protocol.errors import InputError
from tests.evaluation.verify.jobs import Case


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


def test_the_command_that_writes_a_report_again_says_that_evidence_was_not_checked(tmp_path: Path, open_job: Case) -> None:
    from fedward.cli.audit_report import _evidence
    from fedward.reports import Found

    (tmp_path / "evidence").mkdir()
    (tmp_path / "evidence" / "site-keys.json").write_bytes(open_job.files["site-keys.json"])
    found = Found(tmp_path, b"", {"arithmetic": ARITHMETIC + 1})
    broken, unchecked, own = _evidence(found, None)
    assert broken is None
    assert f"with arithmetic {ARITHMETIC + 1}" in unchecked
    assert own
