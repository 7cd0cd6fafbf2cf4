"""Whole jobs end with evidence that holds: whoever fell silent is named, and a job that was killed goes on where it was."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from aggregator.evidence.closing import EvidenceRecord
from aggregator.evidence.seen import seen
from aggregator.job import Job
from aggregator.results import write_results
from evaluation.verify.findings import Findings
from evaluation.verify.run import verify
from protocol.evidence.checkpoint import Checkpoint
from protocol.evidence.dsse import parse
from protocol.evidence.keys import read_keys
from protocol.messages import AskReceipts, Cosign, Request
from tests.aggregator.test_secure_rounds import PRIVATE_SECURE, SECURE, Wire, make
from tests.conftest import PRIVATE, tiny_node, tiny_plan

AUDIT = {"attributes": ["sex"], "smallest_cell": 3}
PLANS = {
    "open": tiny_plan(),
    "fine-tuned": tiny_plan(**{"evaluation.personalise": "fine_tune"}),
    "personal parts": tiny_plan(**{"federation.personal": ["head"], "evaluation": {"alone": False}}),
    "averaged": tiny_plan(**{"federation.average_last": 2, "evaluation": {"alone": False}}),
    "moving average": tiny_plan(**{"federation.ema": 0.5, "evaluation": {"alone": False}}),
    "private": tiny_plan(**PRIVATE),
    "secure": tiny_plan(**SECURE),
    "private and secure": tiny_plan(**PRIVATE_SECURE),
    "private sums": tiny_plan(**{**PRIVATE_SECURE, "evaluation": {"alone": False, "scores": "summed", "audit": AUDIT}}),
    "audited, secure": tiny_plan(**{**SECURE, "evaluation": {"alone": False, "audit": AUDIT}}),
}


def finish(job: Job, out: Path) -> tuple[EvidenceRecord, Findings]:
    with closing(job.journal):
        job.run()
        written = write_results(job, out, one_machine=True)
        record = job.evidence()
    assert record is not None
    assert written.evidence is not None
    return record, verify(written.evidence, read_keys(written.evidence / "site-keys.json"), written.report_json)


def shown(findings: Findings) -> str:
    return "\n".join(f"{one.state} {one.check} {one.who}: {one.what}" for one in findings.found if one.state != "ok")


@pytest.mark.parametrize("kind", PLANS)
def test_a_job_of_any_kind_leaves_evidence_that_holds(kind: str, tmp_path: Path) -> None:
    record, findings = finish(make(PLANS[kind], tmp_path)[0], tmp_path)
    assert findings.sound, shown(findings)
    assert sorted(record.cosignatures) == ["s0", "s1", "s2", "s3"]
    assert (record.failures, record.gaps) == ({}, {})


def losing(what: type[Request], silo: str, after: int = 0) -> Callable[[str, Request], bool]:  # type: ignore[valid-type]
    calls = iter(range(1000))

    def lose(name: str, request: Request) -> bool:
        return name == silo and isinstance(request, what) and next(calls) >= after

    return lose


@pytest.mark.parametrize(("what", "check"), [(AskReceipts, "receipts"), (Cosign, "cosignatures")])
def test_a_silo_that_is_gone_at_the_end_is_named_and_the_job_still_ends(what: Any, check: str, tmp_path: Path) -> None:
    record, findings = finish(make(tiny_plan(), tmp_path, lose=losing(what, "s1"))[0], tmp_path)
    assert "s1" not in record.cosignatures
    assert "lost" in record.failures["s1"]
    assert ("s1" in parse(record.checkpoint, Checkpoint).absent) == (what is AskReceipts)
    missing = {(one.check, one.who) for one in findings.found if one.state == "missing"}
    assert (check, "s1") in missing


def test_a_silo_that_was_gone_from_the_beginning_is_listed_and_breaks_nothing(tmp_path: Path) -> None:
    job, _ = make(tiny_plan(), tmp_path, lose=lambda silo, _: silo == "s3")
    record, findings = finish(job, tmp_path)
    assert "s3" in parse(record.checkpoint, Checkpoint).absent
    assert findings.sound, shown(findings)
    assert "it is in no round, and its receipts are not here" in shown(findings)


def test_an_update_that_was_lost_on_the_way_has_a_receipt_and_is_in_no_round(tmp_path: Path) -> None:
    job, wire = make(tiny_plan(), tmp_path)
    inner, lost = wire._inner.exchange, []

    def exchange(requests: Any, deadline_s: float) -> Any:
        from protocol.messages import Train, decode_request
        from protocol.transport.base import Failure

        for silo, reply in inner(requests, deadline_s):
            request = decode_request(requests[silo])
            if silo == "s2" and isinstance(request, Train) and request.address.round == 2:
                lost.append(reply)
                yield silo, Failure("timeout", "lost on the way back")
            else:
                yield silo, reply

    wire._inner.exchange = exchange  # type: ignore[method-assign]
    record, findings = finish(job, tmp_path)
    assert lost
    assert parse(record.checkpoint, Checkpoint).rounds[1].aggregated == ("s0", "s1", "s3")
    assert findings.sound, shown(findings)
    assert "s2: update that it released in round 2 is in no figure; the aggregator says: timeout" in shown(findings)


@pytest.mark.parametrize("when", ["before the receipts", "before the cosignatures", "before the record"])
def test_a_job_that_is_killed_at_its_end_closes_when_it_is_resumed(when: str, tmp_path: Path) -> None:
    plan = tiny_plan(**SECURE)
    job, wire = make(plan, tmp_path)

    class Killed(BaseException):
        pass

    def lose(_: str, request: Request) -> bool:
        if isinstance(request, AskReceipts if when == "before the receipts" else Cosign):
            raise Killed
        return False

    if when == "before the record":
        remember = job.journal.remember

        def killed(key: str, value: object) -> None:
            if key.startswith("evidence/closed"):
                raise Killed
            remember(key, value)

        job.journal.remember = killed  # type: ignore[method-assign]
    else:
        wire._lose = lose
    with closing(job.journal), pytest.raises(Killed):
        job.run()
    wire._lose = lambda *_: False
    again = Job(plan, wire, tmp_path / "job", lambda _: None, {}, job._members)
    record, findings = finish(again, tmp_path)
    assert findings.sound, shown(findings)
    assert sorted(record.cosignatures) == ["s0", "s1", "s2", "s3"]


def test_a_finished_job_keeps_its_evidence_when_it_is_opened_again(tmp_path: Path) -> None:
    job, wire = make(tiny_plan(), tmp_path)
    first, _ = finish(job, tmp_path)
    again = Job(job.plan, wire, tmp_path / "job", lambda _: None, {}, job._members)
    second, findings = finish(again, tmp_path)
    assert second == first
    assert findings.sound, shown(findings)


def test_a_journal_from_before_there_was_evidence_still_opens_and_says_what_is_missing(tmp_path: Path) -> None:
    job, wire = make(tiny_plan(**{"federation.rounds": 2}), tmp_path)
    with closing(job.journal):
        job.run()
        for key in [key for key in sorted(job.journal.keys()) if key.startswith("evidence/")]:
            job.journal._db.execute("DELETE FROM facts WHERE key = ?", (key,))
    for silo in wire.silos:  # and the silos had made no receipts either
        folder = tmp_path / f"state{silo[1:]}" / "jobs" / job.name
        (folder / "receipts.jsonl").unlink()
        (folder / "closed").unlink()
        wire._inner._handlers[silo]._witness._chains.clear()  # type: ignore[attr-defined]
    again = Job(job.plan, wire, tmp_path / "job", lambda _: None, {}, job._members)
    record, findings = finish(again, tmp_path)
    assert not findings.sound
    assert "sent no update for it" in " ".join(record.failures.values())


def test_what_was_replied_is_noted_before_it_is_used(tmp_path: Path) -> None:
    job, wire = make(tiny_plan(**SECURE), tmp_path)
    finish(job, tmp_path)
    again = Job(job.plan, wire, tmp_path / "job", lambda _: None, {}, job._members)
    with closing(again.journal):
        told = seen(again.journal)
        assert [one.request for one in told[:7]] == [
            "describe", "secure-advertise", "secure-share", "secure-deliver", "train-masked", "secure-vouch", "secure-reveal",
        ]  # fmt: skip
        from protocol.canonical import digest_bytes

        came = {(silo, digest_bytes(reply)) for silo, reply in wire.seen}
        noted = {(silo, reply.commitment) for one in told for silo, reply in one.replies.items()}
        assert noted <= came
        assert len(came - noted) == 8  # the receipts and the cosignatures


def test_nothing_of_an_update_is_kept_but_its_digest(tmp_path: Path) -> None:
    job, wire = make(tiny_plan(**SECURE), tmp_path)
    finish(job, tmp_path)
    again = Job(job.plan, wire, tmp_path / "job", lambda _: None, {}, job._members)
    with closing(again.journal):
        from protocol.messages import decode_release

        keys = [key for key in sorted(again.journal.keys()) if key.startswith("evidence/kept/")]
        kinds = {type(decode_release(again.journal.bytes(key) or b"")).__name__ for key in keys}
    assert kinds == {"Description", "Scores"}


def test_members_are_not_needed_for_a_plan_without_masks(tmp_path: Path) -> None:
    from tests.conftest import tiny_store

    nodes = {f"s{i}": tiny_node(f"s{i}", tiny_store(tmp_path / f"s{i}", seed=i), tmp_path / f"state{i}") for i in range(2)}
    job = Job(tiny_plan(), Wire(nodes), tmp_path / "job", lambda _: None)
    _, findings = finish(job, tmp_path)
    assert findings.sound, shown(findings)
