"""The exit code of `fedward audit report`: the gravest of what a report and its evidence say."""

from __future__ import annotations

import pytest

from evaluation.report.conclusion import FINDING, INSUFFICIENT, INTEGRITY, PASS, conclude, exit_code
from evaluation.report.finish import finished
from tests.evaluation.made_up_audit import audited_report, no_sum


@pytest.fixture(scope="module")
def fair():
    return finished(audited_report(n_rounds=1, verdict="pass"))


def test_fair_no_worse_than_alone_and_verified_passes(fair):
    reasons = conclude(fair, [])
    assert {reason.code for reason in reasons} == {PASS}
    assert exit_code(reasons) == PASS


@pytest.mark.parametrize("audit", [None, no_sum("the quorum was missed"), {"verdict": "insufficient"}])
def test_what_was_not_measured_is_no_pass(fair, audit):
    given = (
        finished(audited_report(n_rounds=1, verdict="insufficient"))["audit"] if audit == {"verdict": "insufficient"} else audit
    )
    assert exit_code(conclude({**fair, "audit": given}, [])) == INSUFFICIENT


def test_evidence_that_was_not_checked_is_no_pass(fair):
    reasons = conclude(fair, None, "there is no evidence/ beside the report")
    assert exit_code(reasons) == INSUFFICIENT
    assert "there is no evidence/ beside the report" in reasons[0].text


def test_a_gap_beyond_its_margin_is_a_finding_and_named_once(fair):
    reasons = conclude(finished(audited_report(n_rounds=1, verdict="fail")), [])
    found = [reason.text for reason in reasons if reason.code == FINDING]
    assert exit_code(reasons) == FINDING
    assert len(found) == 2  # AUROC and sensitivity; equalised odds follows from it
    assert "AUROC of pneumonia by sex differs by 0.082 (0.032 to 0.132), F to M" in found[0]


def test_a_hospital_worse_off_than_alone_is_a_finding(fair):
    verdicts = {**fair["outcome"]["versus_alone"], "worse": ["charite"]}
    reasons = conclude({**fair, "outcome": {**fair["outcome"], "versus_alone": verdicts}}, [])
    assert exit_code(reasons) == FINDING
    assert "at charite the federated model ranks worse" in reasons[0].text


def test_what_was_never_compared_is_said_not_to_be_measured(fair):
    assert all(reason.measured for reason in conclude(fair, []))
    nobody = {**fair["outcome"]["versus_alone"], "better": [], "worse": [], "no_clear_difference": []}
    reasons = conclude({**fair, "outcome": {**fair["outcome"], "versus_alone": nobody}}, [])
    assert [reason.text for reason in reasons if not reason.measured] == ["worth it: not compared with own models"]
    assert exit_code(reasons) == PASS


def test_broken_evidence_outweighs_everything(fair):
    failed = finished(audited_report(n_rounds=1, verdict="fail"))
    assert exit_code(conclude(failed, ["receipts, charite: it is of another plan"])) == INTEGRITY
    recorded = {**fair, "checks": [{"name": "every hospital cosigned", "status": "failed", "detail": "2 of 3"}]}
    assert exit_code(conclude(recorded, [])) == INTEGRITY


def test_a_finding_outweighs_missing_evidence():
    assert exit_code(conclude(finished(audited_report(n_rounds=1, verdict="fail")), None, "none")) == FINDING
