"""What follows from signed decisions about a plan: who counts, what outweighs what, and when it ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import EvidenceError
from protocol.governance.decisions import FIRST, Decision, check_chain, decide, decode
from protocol.governance.standing import Officers, Standing, standing
from protocol.identity import Identity

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
PLAN, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
MONTH = timedelta(days=30)


class Office:
    """A hospital with officers ann, bob and cy, of whom `needed` must approve."""

    def __init__(self, folder: Path, needed: int = 1) -> None:
        self.keys = {name: Identity.open(folder / name) for name in ("ann", "bob", "cy", "mallory")}
        self.officers = Officers({name: self.keys[name].public_key for name in ("ann", "bob", "cy")}, needed)
        self.said: list[Decision] = []

    def say(
        self, officer: str, verdict: str, days_ago: float = 1, plan: str = PLAN, hospital: str = "north", ends: float = 30
    ) -> None:
        at = NOW - timedelta(days=days_ago)
        expires = at + timedelta(days=ends) if verdict == "approve" else None
        previous = self.said[-1].digest if self.said else FIRST
        made = decide(
            officer,
            self.keys[officer],
            verdict,  # type: ignore[arg-type]
            hospital=hospital,
            plan_digest=plan,
            reason=f"{verdict} it",
            previous=previous,
            at=at,
            expires=expires,
        )
        self.said.append(made)

    def now(self, plan: str = PLAN) -> Standing:
        return standing(self.said, self.officers, "north", plan, NOW)


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def test_a_plan_that_nobody_decided_about_is_pending(office: Office) -> None:
    assert office.now().status == "pending"
    assert office.now().approval == ""


def test_one_approval_approves_where_one_is_needed_and_names_its_end(office: Office) -> None:
    office.say("ann", "approve", days_ago=1, ends=30)
    found = office.now()
    assert (found.status, found.until) == ("approved", NOW - timedelta(days=1) + MONTH)
    assert found.approval.startswith("sha256:")


def test_an_approval_is_of_one_plan_at_one_hospital(office: Office) -> None:
    office.say("ann", "approve", plan=OTHER)
    office.say("ann", "approve", hospital="south")
    assert office.now().status == "pending"


def test_two_approvals_of_one_officer_are_one(tmp_path: Path) -> None:
    office = Office(tmp_path, needed=2)
    office.say("ann", "approve")
    office.say("ann", "approve")
    assert office.now().status == "pending"
    office.say("bob", "approve")
    assert office.now().status == "approved"


def test_a_rejection_outweighs_approvals_until_its_officer_says_otherwise(tmp_path: Path) -> None:
    office = Office(tmp_path, needed=2)
    for officer in ("ann", "bob"):
        office.say(officer, "approve", days_ago=3)
    office.say("cy", "reject", days_ago=2)
    assert office.now().status == "rejected"
    assert "reject it" in office.now().why
    office.say("cy", "approve", days_ago=1)
    assert office.now().status == "approved"


def test_a_withdrawal_stops_an_approved_plan(office: Office) -> None:
    office.say("ann", "approve", days_ago=2)
    office.say("bob", "withdraw", days_ago=1)
    assert office.now().status == "withdrawn"


def test_an_approval_ends(office: Office) -> None:
    office.say("ann", "approve", days_ago=31, ends=30)
    assert office.now().status == "expired"


def test_of_two_needed_the_earlier_end_counts(tmp_path: Path) -> None:
    office = Office(tmp_path, needed=2)
    office.say("ann", "approve", ends=30)
    office.say("bob", "approve", ends=3)
    assert office.now().until == NOW + timedelta(days=2)


def test_nobody_but_the_policys_officers_approves(office: Office) -> None:
    office.say("mallory", "approve")
    assert office.now().status == "pending"


def test_an_officers_name_without_its_key_counts_for_nothing(office: Office) -> None:
    forged = decide(
        "ann",
        office.keys["mallory"],
        "approve",
        hospital="north",
        plan_digest=PLAN,
        reason="",
        previous=FIRST,
        at=NOW - MONTH,
        expires=NOW + MONTH,
    )
    assert standing([forged], office.officers, "north", PLAN, NOW).status == "pending"


def test_an_approval_from_the_future_counts_for_nothing_yet(office: Office) -> None:
    office.say("ann", "approve", days_ago=-1)
    assert office.now().status == "pending"


@pytest.mark.parametrize("needed", [0, -1, 4])
def test_a_policy_that_nobody_can_fulfil_approves_nothing(tmp_path: Path, needed: int) -> None:
    office = Office(tmp_path, needed=needed)
    for officer in ("ann", "bob", "cy"):
        office.say(officer, "approve")
    assert office.now().status == "pending"


def test_a_decision_survives_its_line_and_any_change_to_it_is_refused(office: Office) -> None:
    office.say("ann", "approve")
    line = msgspec.json.encode(office.said[0])
    assert decode(line) == office.said[0]
    for old, new in ((b"approve it", b"approve xx"), (b'"ann"', b'"bob"'), (b"north", b"south"), (b"a" * 64, b"c" * 64)):
        with pytest.raises(EvidenceError, match="signature"):
            decode(line.replace(old, new))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_decision_or_refused_by_name(data: bytes) -> None:
    with pytest.raises(EvidenceError):
        decode(data)


def test_a_day_that_no_calendar_has_is_refused(office: Office) -> None:
    office.say("ann", "approve")
    line = msgspec.json.encode(msgspec.structs.replace(office.said[0], at="2026-13-41T99:00:00Z"))
    with pytest.raises(EvidenceError):
        decode(line)


def test_a_chain_with_a_decision_taken_out_put_in_or_moved_is_refused(office: Office) -> None:
    for officer in ("ann", "bob", "cy"):
        office.say(officer, "approve")
    one, two, three = office.said
    check_chain((one, two, three))
    for broken in ((one, three), (two, three), (one, three, two), (one, two, two, three)):
        with pytest.raises(EvidenceError, match="does not follow"):
            check_chain(broken)


@pytest.mark.parametrize(("verdict", "expires"), [("approve", None), ("reject", NOW + MONTH), ("approve", NOW - MONTH)])
def test_only_an_approval_ends_and_it_ends_later(office: Office, verdict: str, expires: datetime | None) -> None:
    with pytest.raises(EvidenceError):
        decide(
            "ann",
            office.keys["ann"],
            verdict,  # type: ignore[arg-type]
            hospital="north",
            plan_digest=PLAN,
            reason="",
            previous=FIRST,
            at=NOW,
            expires=expires,
        )


@pytest.mark.parametrize(("verdict", "status"), [("withdraw", "withdrawn"), ("reject", "rejected")])
def test_a_no_counts_at_once_also_by_a_clock_that_is_ahead(office: Office, verdict: str, status: str) -> None:
    office.say("ann", "approve")
    office.say("ann", verdict, days_ago=-0.01)
    assert office.now().status == status
