"""Decisions on disk, and whether a plan may touch the cohort now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import pytest

from protocol.errors import ApprovalError
from protocol.governance.decisions import Decision, decide
from protocol.governance.standing import Officers
from protocol.identity import Identity
from silo_node.governance.approvals import LOCAL, ApprovedByOfficers, ApprovedLocally
from silo_node.governance.log import DecisionLog

START = datetime(2026, 11, 1, tzinfo=UTC)
PLAN = "sha256:" + "a" * 64


class Hospital:
    """North, with one officer and a clock that can be moved."""

    def __init__(self, folder: Path) -> None:
        self.path, self.memory = folder / "governance" / "decisions.jsonl", folder / "decisions.json"
        self.ann = Identity.open(folder / "ann.key")
        self.clock = START
        self.approvals = self.restarted()

    def restarted(self) -> ApprovedByOfficers:
        officers = Officers({"ann": self.ann.public_key}, 1)
        return ApprovedByOfficers("north", officers, DecisionLog(self.path, self.memory), lambda: self.clock)

    def say(self, verdict: str, plan: str = PLAN, days: int = 30) -> Decision:
        def make(previous: str) -> Decision:
            return decide(
                "ann",
                self.ann,
                verdict,  # type: ignore[arg-type]
                hospital="north",
                plan_digest=plan,
                reason="said Ann",
                previous=previous,
                at=self.clock,
                expires=self.clock + timedelta(days=days) if verdict == "approve" else None,
            )

        return self.approvals.log.add(make)


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    return Hospital(tmp_path)


def test_a_plan_is_refused_until_it_is_approved_and_again_once_that_is_withdrawn(hospital: Hospital) -> None:
    with pytest.raises(ApprovalError, match="not approved it yet"):
        hospital.approvals.require(PLAN)
    hospital.say("approve")
    first = hospital.approvals.require(PLAN)
    assert first.startswith("sha256:")
    hospital.say("withdraw")
    with pytest.raises(ApprovalError, match="withdrew"):
        hospital.approvals.require(PLAN)
    hospital.say("approve")
    assert hospital.approvals.require(PLAN) not in ("", first)


def test_a_rejected_an_expired_and_another_plan_are_refused_by_name(hospital: Hospital) -> None:
    hospital.say("approve", days=10)
    with pytest.raises(ApprovalError, match="not approved it yet"):
        hospital.approvals.require("sha256:" + "b" * 64)
    hospital.clock += timedelta(days=10)
    with pytest.raises(ApprovalError, match="has ended"):
        hospital.approvals.require(PLAN)
    hospital.say("reject")
    with pytest.raises(ApprovalError, match="rejected"):
        hospital.approvals.require(PLAN)


def test_what_leaves_the_hospital_names_no_officer_and_no_reason(hospital: Hospital) -> None:
    hospital.say("reject")
    with pytest.raises(ApprovalError) as caught:
        hospital.approvals.require(PLAN)
    assert "ann" not in str(caught.value).lower().replace("plan", "")


def test_another_process_sees_a_decision_at_once(hospital: Hospital) -> None:
    other = hospital.restarted()
    hospital.say("approve")
    assert other.require(PLAN)
    hospital.say("withdraw")
    with pytest.raises(ApprovalError):
        other.require(PLAN)


def test_an_older_copy_of_the_decisions_approves_nothing(hospital: Hospital) -> None:
    hospital.say("approve")
    older = hospital.path.read_bytes()
    hospital.say("withdraw")
    hospital.path.write_bytes(older)
    for approvals in (hospital.approvals, hospital.restarted()):
        with pytest.raises(ApprovalError, match="older copy"):
            approvals.require(PLAN)


def test_decisions_that_are_gone_approve_nothing(hospital: Hospital) -> None:
    hospital.say("approve")
    hospital.path.unlink()
    with pytest.raises(ApprovalError, match="older copy"):
        hospital.restarted().require(PLAN)


@pytest.mark.parametrize("old", [b"approve", b"said Ann", b"north", b"2026-11-01"])
def test_a_changed_decision_approves_nothing(hospital: Hospital, old: bytes) -> None:
    hospital.say("approve")
    data = hospital.path.read_bytes()
    hospital.path.write_bytes(data.replace(old, old[:-1] + b"x"))
    with pytest.raises(ApprovalError, match="was changed"):
        hospital.restarted().require(PLAN)


def test_a_line_that_was_cut_short_decided_nothing_and_the_next_takes_its_place(hospital: Hospital) -> None:
    hospital.say("approve")
    with hospital.path.open("ab") as handle:
        handle.write(b'{"schema": "fedward.dec')
    assert hospital.restarted().require(PLAN)
    hospital.say("withdraw")
    assert len(hospital.restarted().log.decisions()) == 2


def test_decisions_made_at_once_all_stand(hospital: Hospital) -> None:
    threads = [Thread(target=hospital.say, args=("approve", "sha256:" + f"{number:064x}")) for number in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len({one.plan_digest for one in hospital.restarted().log.decisions()}) == 8


def test_the_decisions_are_for_their_owner_only(hospital: Hospital) -> None:
    hospital.say("approve")
    assert hospital.path.stat().st_mode & 0o077 == 0


def test_an_operator_who_answers_for_every_plan_is_named_as_such() -> None:
    assert ApprovedLocally().require(PLAN) == LOCAL


def test_a_decision_made_while_the_node_asks_does_not_look_like_a_lost_one(hospital: Hospital) -> None:
    hospital.say("approve")
    node = hospital.restarted()
    known = node.log._known
    other = Thread(target=lambda: hospital.say("approve", plan="sha256:" + "c" * 64))

    def late(found: tuple[Decision, ...]) -> tuple[Decision, ...]:
        other.start()  # an officer decides after the log was read; it must wait until it was compared
        other.join(0.3)
        return known(found)

    node.log._known = late  # type: ignore[method-assign]
    assert node.require(PLAN).startswith("sha256:")
    other.join(20)
    assert len(hospital.restarted().log.decisions()) == 2
