"""Every release names what approved the plan; the officers' decisions, where an auditor has them, must make it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from evaluation.verify.entry import evidence_entry
from evaluation.verify.findings import Findings
from evaluation.verify.opened import Opened
from evaluation.verify.run import verify_opened
from protocol.canonical import canonical_json, digest_bytes, digest_json
from protocol.evidence import bundle as names
from protocol.evidence.dsse import seal, unseal
from protocol.evidence.receipt import REFUSAL, TYPE, ReleaseReceipt
from protocol.governance.decisions import FIRST, Decision, decide
from protocol.identity import Identity
from tests.evaluation.verify.jobs import SILOS, Case, broken, words

NOW = datetime(2026, 5, 1, tzinfo=UTC)
DIGEST = "sha256:" + "a" * 64


def said(findings: Findings, state: str) -> str:
    return "\n".join(f"{one.who}: {one.what}" for one in findings.found if (one.check, one.state) == ("approvals", state))


def with_approval(job: Case, silo: str, approval: Callable[[ReleaseReceipt], str]) -> Case:
    """The job as it would be had the silo itself signed other approvals: its chain, root and cosignatures anew."""
    copy, previous, lines = job.copy(), "", []
    for line in job.lines(silo):
        receipt = unseal(line, silo, job.silos[silo].public_key, TYPE, ReleaseReceipt)
        receipt = msgspec.structs.replace(receipt, previous=previous, approval=approval(receipt))
        lines.append(seal(job.silos[silo], silo, TYPE, receipt))
        previous = digest_bytes(lines[-1])
    copy.put_lines(silo, lines)
    copy.root_again()
    copy.cosign_again()
    entry = evidence_entry(copy.files[names.CHECKPOINT], copy.checkpoint, SILOS, {})
    copy.put_report(lambda report: report.update(entry))
    return copy


def verified(job: Case, **decisions: bytes) -> Findings:
    job.sign_again()
    return verify_opened(Opened(dict(job.files), job.keys), job.report, decisions)


class Desk:
    """Officers of one hospital, and what they decided."""

    def __init__(self, folder: Path, hospital: str) -> None:
        self.folder, self.hospital, self.decisions = folder, hospital, list[Decision]()

    def say(self, officer: str, verdict: str, plan: str, days: int = 90) -> Decision:
        previous = self.decisions[-1].digest if self.decisions else FIRST
        ends = NOW + timedelta(days=days) if verdict == "approve" else None
        key = Identity.open(self.folder / f"{officer}.key")
        about = {"hospital": self.hospital, "plan_digest": plan, "reason": "", "previous": previous}
        made = decide(officer, key, verdict, **about, at=NOW, expires=ends)  # type: ignore[arg-type]
        self.decisions.append(made)
        return made

    @property
    def log(self) -> bytes:
        return b"".join(msgspec.json.encode(one) + b"\n" for one in self.decisions)


def digest(*decisions: Decision) -> str:
    return digest_json(sorted(one.digest for one in decisions))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, "s1")


def test_a_local_approval_holds_and_is_said_to_be_nobodys_signature(open_job: Case) -> None:
    findings = open_job.copy().verify(again=False)
    assert "releases name what approved the job's plan" in said(findings, "ok")
    assert f"{', '.join(SILOS)} - local: whoever ran the node" in said(findings, "unchecked")


def test_a_release_without_an_approval_is_broken(open_job: Case) -> None:
    job = with_approval(open_job, "s1", lambda one: "" if one.seq == 2 else one.approval)
    findings = verified(job)
    assert broken(findings) == {("approvals", "s1")}
    assert "receipt 2 of s1: " in words(findings)
    assert "was released without an approval" in words(findings)


def test_a_refusal_may_lack_one(open_job: Case) -> None:
    from evaluation.verify.approvals import _named

    receipt = unseal(open_job.lines("s1")[0], "s1", open_job.silos["s1"].public_key, TYPE, ReleaseReceipt)
    assert _named("s1", [receipt, msgspec.structs.replace(receipt, kind=REFUSAL, approval="")]) == {"local"}


def test_refusals_for_want_of_an_approval_are_named_with_the_hospital_that_signed_them(open_job: Case) -> None:
    from evaluation.verify.approvals import check_approvals

    def refused(receipt: ReleaseReceipt, approval: str) -> ReleaseReceipt:
        return msgspec.structs.replace(receipt, kind=REFUSAL, approval=approval)

    opened = Opened(dict(open_job.files), open_job.keys)
    lines, key = open_job.lines("s1")[:3], open_job.silos["s1"].public_key
    west = [unseal(line, "s1", key, TYPE, ReleaseReceipt) for line in lines]
    opened.receipts["s1"] = tuple(refused(one, "local" if one.seq == 1 else "") for one in west)
    check_approvals(opened, findings := Findings(), {})
    assert "s1: refused 2 times for want of an approval" in said(findings, "ok")
    assert "s0: refused" not in said(findings, "ok")


@pytest.mark.parametrize("word", ["yes", "sha256:12", "LOCAL", DIGEST.upper()])
def test_what_is_no_approval_does_not_pass_for_one(open_job: Case, word: str) -> None:
    assert broken(verified(with_approval(open_job, "s1", lambda _: word))) == {("approvals", "s1")}


def test_an_approval_that_was_changed_after_signing_is_found(open_job: Case) -> None:
    job = open_job.copy()
    lines = job.lines("s2")
    envelope = json.loads(lines[2])
    body = json.loads(base64.b64decode(envelope["payload"])) | {"approval": DIGEST}
    lines[2] = canonical_json(envelope | {"payload": base64.b64encode(canonical_json(body)).decode()})
    job.put_lines("s2", lines)
    job.root_again()
    assert ("receipts", "s2") in broken(verified(job))


def test_officers_are_taken_at_the_silos_word_until_their_decisions_are_given(open_job: Case, desk: Desk) -> None:
    made = digest(desk.say("ann", "approve", open_job.checkpoint.plan_digest))
    job = with_approval(open_job, "s1", lambda _: made)
    findings = verified(job)
    assert findings.sound
    assert "their decisions were not given" in said(findings, "unchecked")
    findings = verified(job, s1=desk.log)
    assert findings.sound, words(findings)
    assert "approved by ann (key " in said(findings, "ok")
    assert "that these keys are those of the hospital's officers" in said(findings, "unchecked")


def test_an_approval_of_another_plan_is_found(open_job: Case, desk: Desk) -> None:
    made = digest(desk.say("ann", "approve", "sha256:" + "b" * 64))
    desk.say("ann", "approve", open_job.checkpoint.plan_digest)
    findings = verified(with_approval(open_job, "s1", lambda _: made), s1=desk.log)
    assert broken(findings) == {("approvals", "s1")}
    assert "is of another plan" in words(findings)


def test_an_approval_that_no_decision_makes_is_found(open_job: Case, desk: Desk) -> None:
    desk.say("ann", "approve", open_job.checkpoint.plan_digest)
    findings = verified(with_approval(open_job, "s1", lambda _: DIGEST), s1=desk.log)
    assert broken(findings) == {("approvals", "s1")}
    assert "do not make the approval" in words(findings)


def test_an_approval_beside_a_rejection_is_none(open_job: Case, desk: Desk) -> None:
    plan = open_job.checkpoint.plan_digest
    desk.say("bob", "reject", plan)
    made = digest(desk.say("ann", "approve", plan))
    assert broken(verified(with_approval(open_job, "s1", lambda _: made), s1=desk.log)) == {("approvals", "s1")}


def test_an_approval_that_was_withdrawn_later_was_one_when_it_was_named(open_job: Case, desk: Desk) -> None:
    plan = open_job.checkpoint.plan_digest
    made = digest(desk.say("ann", "approve", plan), desk.say("bob", "approve", plan))
    desk.say("ann", "withdraw", plan)
    findings = verified(with_approval(open_job, "s1", lambda _: made), s1=desk.log)
    assert findings.sound, words(findings)


def test_decisions_of_another_hospital_approve_nothing_here(open_job: Case, tmp_path: Path) -> None:
    other = Desk(tmp_path, "s2")
    made = digest(other.say("ann", "approve", open_job.checkpoint.plan_digest))
    assert broken(verified(with_approval(open_job, "s1", lambda _: made), s1=other.log)) == {("approvals", "s1")}


def test_decisions_that_were_changed_or_shortened_are_refused(open_job: Case, desk: Desk) -> None:
    plan = open_job.checkpoint.plan_digest
    desk.say("bob", "reject", plan)
    made = digest(desk.say("ann", "approve", plan), desk.say("bob", "approve", plan))
    job = with_approval(open_job, "s1", lambda _: made)
    assert verified(job.copy(), s1=desk.log).sound
    forged = desk.log.replace(plan.encode(), ("sha256:" + "c" * 64).encode())
    assert broken(verified(job.copy(), s1=forged)) == {("approvals", "s1")}
    without_rejection = b"".join(desk.log.splitlines(keepends=True)[1:])
    assert broken(verified(job.copy(), s1=without_rejection)) == {("approvals", "s1")}


def test_an_approval_that_changes_on_the_way_is_named(open_job: Case) -> None:
    findings = verified(with_approval(open_job, "s1", lambda one: DIGEST if one.seq > 3 else one.approval))
    assert findings.sound
    assert "what its receipts name as approval changed" in said(findings, "unchecked")


def test_decisions_of_whom_nobody_knows_are_named(open_job: Case, desk: Desk) -> None:
    desk.say("ann", "approve", open_job.checkpoint.plan_digest)
    assert "s9: decisions were given, but it is not on the roster" in said(verified(open_job.copy(), s9=desk.log), "unchecked")
