"""What a data officer decided about one plan at one hospital: signed, and chained to what was decided before.

A decision names the plan by its digest, so a plan that changes by one letter has none. The chain (each decision holds the
digest of the one before) shows whether one was taken out or put in; who may decide, and how many must, the policy says.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec

from protocol.canonical import digest_json
from protocol.errors import EvidenceError
from protocol.identity import Identity, verify

Verdict = Literal["approve", "reject", "withdraw"]
Text = Annotated[str, msgspec.Meta(max_length=4000)]
Digest = Annotated[str, msgspec.Meta(pattern=r"\Asha256:[0-9a-f]{64}\Z")]
Officer = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}\Z")]
Moment = Annotated[str, msgspec.Meta(pattern=r"\A\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z\Z")]
"""UTC, to the second."""
FIRST = "sha256:" + "0" * 64
"""Stands for the decision before the first."""


class Decision(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="schema", tag="fedward.decision/1"):
    """One officer's word on one plan at one hospital. `expires` stands in approvals only; `previous` links the chain.

    `signature` is Ed25519 by `officer_key` over the canonical JSON of all other fields.
    """

    hospital: str
    plan_digest: Digest
    verdict: Verdict
    reason: Text
    officer: Officer
    officer_key: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    at: Moment
    expires: Moment | None
    previous: Digest
    signature: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{128}\Z")]

    @property
    def digest(self) -> str:
        """What the next decision links to, and receipts name."""
        return digest_json(msgspec.to_builtins(self))


def decide(
    officer: str,
    identity: Identity,
    verdict: Verdict,
    *,
    hospital: str,
    plan_digest: str,
    reason: str,
    previous: str,
    at: datetime,
    expires: datetime | None = None,
) -> Decision:
    """A signed decision. Raises EvidenceError for what none may say: an approval without an end, a bad name or digest."""
    if (verdict == "approve") != (expires is not None):
        raise EvidenceError("an approval needs a day on which it ends, and no other decision has one.")
    if expires is not None and expires <= at:
        raise EvidenceError("the approval would end before it begins; give a later day.")
    fields: dict[str, Any] = {
        "schema": "fedward.decision/1",
        "hospital": hospital,
        "plan_digest": plan_digest,
        "verdict": verdict,
        "reason": reason,
        "officer": officer,
        "officer_key": identity.public_key.hex(),
        "at": _text(at),
        "expires": None if expires is None else _text(expires),
        "previous": previous,
    }
    try:
        return msgspec.convert(fields | {"signature": identity.sign(fields).hex()}, Decision)
    except msgspec.ValidationError as error:
        raise EvidenceError(f"this cannot be decided: {error}.") from error


def decode(line: bytes) -> Decision:
    """The decision in one line of a log. Raises EvidenceError unless it is one, signed by the key it names."""
    try:
        decision = msgspec.json.decode(line, type=Decision)
        for text in (decision.at, decision.expires or decision.at):
            moment(text)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise EvidenceError(f"a line of the decisions is not one: {error}.") from error
    if (decision.verdict == "approve") != (decision.expires is not None):
        raise EvidenceError("an approval without an end, or an end of something else: no decision of ours.")
    fields = msgspec.to_builtins(decision)
    signature = bytes.fromhex(fields.pop("signature"))
    if not verify(bytes.fromhex(decision.officer_key), signature, fields):
        raise EvidenceError(
            f"a decision of {decision.officer} does not bear that officer's signature; it was changed or forged."
        )
    return decision


def check_chain(decisions: tuple[Decision, ...]) -> None:
    """Raises EvidenceError if a decision does not follow the one before it."""
    previous = FIRST
    for number, decision in enumerate(decisions, start=1):
        if decision.previous != previous:
            raise EvidenceError(f"decision {number} does not follow the one before it: one was taken out, put in or moved.")
        previous = decision.digest


def moment(text: str) -> datetime:
    """The time that a Moment names. Raises ValueError for a day that no calendar has."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def _text(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
