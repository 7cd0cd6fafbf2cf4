"""What follows from all decisions about a plan, at a moment: may it touch the cohort? Pure, and fails closed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from protocol.canonical import digest_json
from protocol.governance.decisions import Decision, moment

Status = Literal["approved", "pending", "rejected", "expired", "withdrawn"]


@dataclass(frozen=True)
class Officers:
    """Who may decide at this hospital: Ed25519 public keys (32 bytes) by name, and how many must approve."""

    keys: Mapping[str, bytes]
    needed: int


@dataclass(frozen=True)
class Standing:
    """`why` says what to do next. `approval` is the digest of the decisions that approve it; "" unless it is approved."""

    status: Status
    why: str
    approval: str = ""
    until: datetime | None = None


def standing(decisions: Iterable[Decision], officers: Officers, hospital: str, plan_digest: str, now: datetime) -> Standing:
    """How the plan stands. The newest word of each officer counts; one rejection or withdrawal outweighs any approvals.

    Decisions of people who are no officers, about other plans or at other hospitals, and approvals from the future count for
    nothing. A rejection or withdrawal counts at once, also by a clock that is ahead.
    """
    if not 0 < officers.needed <= len(officers.keys):
        return Standing(
            "pending", "this hospital's policy names too few data officers to approve anything; see docs/governance.md"
        )
    words = words_of(decisions, officers, hospital, plan_digest, now)
    for verdict, status in (("reject", "rejected"), ("withdraw", "withdrawn")):
        against = sorted(name for name, one in words.items() if one.verdict == verdict)
        if against:
            said = words[against[0]]
            return Standing(status, f"by {', '.join(against)} on {said.at[:10]}: {said.reason or 'no reason given'}")  # type: ignore[arg-type]
    given = {name: one for name, one in words.items() if one.verdict == "approve"}
    valid = {name: one for name, one in given.items() if _until(one) > now}
    if len(valid) >= officers.needed:
        ends = sorted((_until(one) for one in valid.values()), reverse=True)
        until = ends[officers.needed - 1]
        digest = digest_json(sorted(one.digest for one in valid.values()))
        return Standing("approved", f"by {', '.join(sorted(valid))} until {until:%Y-%m-%d}", digest, until)
    if len(given) >= officers.needed:
        return Standing("expired", "the approval has ended; approve it again with `fedward silo approve`")
    silent = ", ".join(sorted(officers.keys.keys() - valid.keys()))
    return Standing("pending", f"waits for the word of {officers.needed - len(valid)} of its data officers: {silent}")


def words_of(
    decisions: Iterable[Decision], officers: Officers, hospital: str, plan_digest: str, now: datetime
) -> dict[str, Decision]:
    """The newest word of each officer that counts for this plan; officers who have said nothing are left out."""
    words: dict[str, Decision] = {}
    for one in decisions:
        key = officers.keys.get(one.officer)
        ours = one.hospital == hospital and one.plan_digest == plan_digest
        if ours and key is not None and key.hex() == one.officer_key and (one.verdict != "approve" or moment(one.at) <= now):
            words[one.officer] = one
    return words


def _until(one: Decision) -> datetime:
    return moment(one.at) if one.expires is None else moment(one.expires)
