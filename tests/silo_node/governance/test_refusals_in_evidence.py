"""A whole job of which one hospital's officers never approved the plan: its refusals are in the evidence, signed by it."""

from __future__ import annotations

from pathlib import Path

from protocol.errors import ApprovalError
from protocol.evidence.checkpoint import lines_of
from protocol.evidence.receipt import read_chain
from tests.aggregator.test_evidence import finish, shown
from tests.aggregator.test_secure_rounds import make
from tests.conftest import tiny_plan


class Refusing:
    """Officers who reject everything."""

    def require(self, _: str) -> str:
        raise ApprovalError("the plan is not approved at this hospital: its data officers rejected it.")


def test_a_hospital_that_refused_from_the_start_proves_it_and_the_job_ends_without_it(tmp_path: Path) -> None:
    plan = tiny_plan()
    job, wire = make(plan, tmp_path)
    west = wire._inner._handlers["s3"]
    west._approvals = west._witness._approvals = Refusing()
    record, findings = finish(job, tmp_path)
    assert findings.sound, shown(findings)
    receipts, _ = read_chain(lines_of(record.chains["s3"]), "s3", west.public_key, job.name, plan.digest)
    assert {(one.kind, one.approval) for one in receipts} == {("refusal", "")}
    assert sorted(record.cosignatures) == ["s0", "s1", "s2", "s3"]
    said = [one.what for one in findings.found if (one.check, one.who, one.state) == ("approvals", "s3", "ok")]
    assert len(said) == 1
    assert "for want of an approval" in said[0]
