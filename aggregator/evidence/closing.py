"""The last step of a job: collect every silo's receipts, put the job's course into a checkpoint, have every silo cosign it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from aggregator.events import SiloAnswered, StepStarted
from aggregator.evidence.course import course
from aggregator.evidence.seen import Seen, seen
from aggregator.history import History
from aggregator.journal import Journal
from aggregator.questions import Desk
from aggregator.replies import ask
from protocol.canonical import canonical_json
from protocol.errors import EvidenceError, UpdateError
from protocol.evidence.checkpoint import Chain, Checkpoint, Site, all_receipts, check_cosignature, lines_of, tree_root
from protocol.evidence.receipt import REFUSAL, Head, ReleaseReceipt, read_chain
from protocol.messages import AskReceipts, Cosign, Cosigned, Receipts
from protocol.secure_aggregation import Member

NAME = "evidence"
_TRIES = 2  # a chain that grew between the two questions is collected again
_DEADLINE_S = 300.0  # nothing is computed for an answer, and a silo that is gone should not hold the report up


class EvidenceRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """`checkpoint` in canonical JSON, each silo's receipts in lines, and its cosignature.

    `failures` says why a silo did not hand over its receipts, or did not cosign; `gaps`, of what a silo has made no receipt
    though the aggregator has its reply.
    """

    at: float
    checkpoint: bytes
    chains: dict[str, bytes]
    cosignatures: dict[str, bytes]
    failures: dict[str, str]
    gaps: dict[str, str]


def close(
    desk: Desk, members: Sequence[Member], journal: Journal, history: History, initial: str, final: str
) -> EvidenceRecord:
    """Ask every silo on the roster. `initial` and `final` are digests of the first and the final global model."""
    desk.observe(StepStarted(NAME, desk.plan.federation.rounds, desk.transport.silos))
    told, known = seen(journal), {member.name: member.public_key for member in members}
    record: EvidenceRecord | None = None
    for _ in range(_TRIES):
        found = _Collected(desk, known)
        record = _attempt(desk, found, told, history, initial, final)
        if not any(EvidenceError.__name__ in reason for reason in record.failures.values()):
            break
    if record is None:
        raise EvidenceError("no attempt was made.")
    desk.report_failures(NAME, record.failures)
    for silo in record.cosignatures:
        desk.observe(SiloAnswered(NAME, silo, None))
    return record


class _Collected:
    """What the silos handed over: `lines` and `receipts` of those whose chain is sound, why others have none, all keys."""

    def __init__(self, desk: Desk, known: Mapping[str, bytes]) -> None:
        self.lines: dict[str, tuple[bytes, ...]] = {}
        self.receipts: dict[str, tuple[ReleaseReceipt, ...]] = {}
        self.heads: dict[str, Head] = {}
        self.keys = dict(known)

        def accept(silo: str, reply: Receipts) -> None:
            key = self.keys.setdefault(silo, reply.public_key)
            if key != reply.public_key:
                raise UpdateError("its receipts are signed with another key than the roster's.")
            try:
                lines = lines_of(reply.lines)
                self.receipts[silo], self.heads[silo] = read_chain(lines, silo, key, desk.job, desk.plan.digest)
            except EvidenceError as error:
                raise UpdateError(str(error)) from error
            self.lines[silo] = lines

        rounds = desk.plan.federation.rounds
        request, deadline = AskReceipts(desk.address(rounds)), min(_DEADLINE_S, desk.deadline_s)
        self.absent = ask(desk.transport, request, desk.transport.silos, deadline, Receipts, accept)


def _attempt(desk: Desk, found: _Collected, told: Sequence[Seen], history: History, initial: str, final: str) -> EvidenceRecord:
    rounds, scored = course(history, told, initial)
    checkpoint = Checkpoint(
        job=desk.job,
        plan_digest=desk.plan.digest,
        roster=tuple(Site(silo, found.keys.get(silo, b"").hex()) for silo in desk.transport.silos),
        rounds=rounds,
        scored=scored,
        model=final,
        chains=tuple(Chain(silo, found.heads[silo].length, found.heads[silo].digest) for silo in sorted(found.heads)),
        absent=dict(sorted(found.absent.items())),
        receipts=len(all_receipts(found.lines)),
        root=tree_root(found.lines),
    )
    data = canonical_json(msgspec.to_builtins(checkpoint))
    signed: dict[str, bytes] = {}

    def accept(silo: str, reply: Cosigned) -> None:
        try:
            check_cosignature(reply.cosignature, data, silo, found.keys[silo])
        except EvidenceError as error:
            raise UpdateError(f"the cosignature is of no use: {error}.") from error
        signed[silo] = reply.cosignature

    request, deadline = Cosign(desk.address(desk.plan.federation.rounds), data), min(_DEADLINE_S, desk.deadline_s)
    refused = ask(desk.transport, request, tuple(found.lines), deadline, Cosigned, accept)
    files = {silo: b"".join(line + b"\n" for line in lines) for silo, lines in found.lines.items()}
    gaps = {silo: gap for silo, receipts in found.receipts.items() if (gap := _gap(silo, receipts, told))}
    return EvidenceRecord(time.time(), data, files, signed, found.absent | refused, gaps)


def _gap(silo: str, receipts: Sequence[ReleaseReceipt], told: Sequence[Seen]) -> str:
    """The first reply of `silo` that the aggregator has and `silo` has made no receipt of; empty if there is none."""
    made = {(receipt.commitment, receipt.kind) for receipt in receipts}
    for one in told:
        reply = one.replies.get(silo)
        if reply is not None and reply.kind not in ("", REFUSAL) and (reply.commitment, reply.kind) not in made:
            return f"no receipt of its {reply.kind} in round {one.address.round} (attempt {one.address.attempt})"
    return ""
