"""What a silo signs about a job: a receipt of everything that leaves, and at the end the checkpoint that must hold them all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from privacy.event_json import encode as encode_event
from protocol.canonical import digest_bytes, digest_json
from protocol.errors import ApprovalError, EvidenceError, SiloError
from protocol.evidence.agreement import check_chain, check_course, check_models, check_part
from protocol.evidence.checkpoint import Checkpoint, Cosignature, as_lines, cosign
from protocol.evidence.dsse import parse
from protocol.evidence.receipt import Charged, LedgerHead, ReleaseReceipt, read_chain
from protocol.identity import Identity
from protocol.messages import (
    AskReceipts,
    AuditCounts,
    Cosign,
    Cosigned,
    MaskedScores,
    PrivateScores,
    Receipt,
    Receipts,
    Refusal,
    Release,
    Revealed,
    Scores,
    Vouched,
)
from protocol.plan import Plan
from protocol.secure_aggregation import Member
from silo_node.chain import Chain
from silo_node.charges import Charge
from silo_node.governance.approvals import Approvals
from silo_node.state import JobState

_CHAIN, _CLOSED = "receipts.jsonl", "closed"
_MOST_REFUSED = 1000
"""Jobs of which a silo keeps nothing but receipts of refusals: an aggregator can invent any number."""


class Witness:
    """The receipts of the silo `site` under `root`, one chain a job."""

    def __init__(self, root: Path, site: str, identity: Identity, approvals: Approvals) -> None:
        self._root, self._site, self._identity, self._approvals = root, site, identity, approvals
        self._chains: dict[str, Chain] = {}

    def note(self, message: Release, data: bytes, plan: Plan | None, model: str, charge: Charge | None) -> None:
        """Write the receipt of `data`, the bytes of `message`; on disk before this returns. Raises OSError, SiloError.

        `plan` is None where a request was refused before its job was known: of a job that was never described here nothing is
        kept, or anybody's invented job would make a file. Of jobs whose plan was refused so many are kept, and no more.
        """
        address = message.address
        try:
            chain = self._chain(address.job)
        except SiloError:  # no name of a job
            return
        refused = isinstance(message, Refusal)
        if not chain.path.exists() and (plan is None or (refused and self._refused_jobs() >= _MOST_REFUSED)):
            return
        ledger = getattr(message, "receipt", None)
        chain.append(
            ReleaseReceipt(
                site=self._site,
                seq=0,
                previous="",
                job=address.job,
                plan_digest=address.plan_digest if plan is None else plan.digest,
                approval=self._approval(address.plan_digest if plan is None else plan.digest),
                round=address.round,
                attempt=address.attempt,
                purpose=address.purpose,
                kind=str(type(message).__struct_config__.tag),
                model=model,
                commitment=digest_bytes(data),
                metrics=_figures(message),
                survivors=_survivors(message),
                ledger=LedgerHead(ledger.entries, ledger.head) if isinstance(ledger, Receipt) else None,
                charged=None if charge is None else Charged(charge.release, charge.part, encode_event(charge.event)),
            )
        )

    def _approval(self, plan_digest: str) -> str:
        """What approves the plan now; "" of a refusal for want of it."""
        try:
            return self._approvals.require(plan_digest)
        except ApprovalError:
            return ""

    def _refused_jobs(self) -> int:
        jobs = self._root / "jobs"
        return sum(not (job / "plan.json").exists() for job in jobs.iterdir()) if jobs.is_dir() else 0

    def answer(self, request: AskReceipts | Cosign, pinned: Sequence[Member]) -> Receipts | Cosigned:
        """The chain, or a cosignature. Raises EvidenceError, SiloError."""
        address = request.address
        chain = self._chain(address.job)
        if isinstance(request, AskReceipts):
            return Receipts(address, self._identity.public_key, as_lines(chain.lines()))
        checkpoint = parse(request.checkpoint, Checkpoint)
        seen = self._check(checkpoint, address.job, chain, pinned)
        self._close(address.job)
        digest = digest_bytes(request.checkpoint)
        word = Cosignature(self._site, address.job, checkpoint.plan_digest, digest, "as scored" if seen else "not seen")
        return Cosigned(address, cosign(self._identity, word))

    def refuse_if_closed(self, job: str) -> None:
        """Raises SiloError once this silo has cosigned: nothing more of the job leaves that no checkpoint holds."""
        if (JobState(self._root, job).folder / _CLOSED).exists():
            raise SiloError("this silo has cosigned the job's checkpoint: the job is closed. Start a new one.")

    def _check(self, checkpoint: Checkpoint, job: str, chain: Chain, pinned: Sequence[Member]) -> bool:
        """Whether this silo was given the final model to score. Raises EvidenceError if there is anything it cannot sign."""
        plan, key = JobState(self._root, job).plan(), self._identity.public_key
        wanted = checkpoint.plan_digest if plan is None else plan.digest
        receipts, head = read_chain(chain.lines(), self._site, key, job, wanted)
        # A silo that refused the plan from the start has no more of the job than its refusals, which say which plan it was.
        known = {one.plan_digest for one in receipts} if plan is None else {plan.digest}
        if checkpoint.job != job or checkpoint.plan_digest not in known:
            raise EvidenceError("the checkpoint is of another job or plan than this silo took part in; it was not signed.")
        named = {one.name: one.public_key for one in checkpoint.roster}
        if named.get(self._site) != key.hex():
            raise EvidenceError("the checkpoint's roster does not hold this silo with its key; it was not signed.")
        if pinned and named != {member.name: member.public_key.hex() for member in pinned}:
            raise EvidenceError("the checkpoint's roster is not the one this hospital has pinned; it was not signed.")
        check_chain(checkpoint, self._site, head)
        check_course(checkpoint)
        check_part(checkpoint, self._site, receipts)
        return check_models(checkpoint, self._site, receipts)

    def _close(self, job: str) -> None:
        descriptor = os.open(JobState(self._root, job).folder / _CLOSED, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _chain(self, job: str) -> Chain:
        if job not in self._chains:
            self._chains[job] = Chain(JobState(self._root, job).folder / _CHAIN, self._identity)
        return self._chains[job]


def _figures(message: Release) -> str:
    """Digest of the figures alone, whatever they answer."""
    if isinstance(message, MaskedScores):
        return digest_bytes(message.masked)
    if isinstance(message, AuditCounts):
        return digest_bytes(message.counts)
    if isinstance(message, Scores | PrivateScores):
        fields: dict[str, Any] = msgspec.to_builtins(message)
        return digest_json({name: value for name, value in fields.items() if name not in ("address", "receipt", "type")})
    return ""


def _survivors(message: Release) -> tuple[str, ...]:
    if isinstance(message, Vouched):
        return tuple(sorted(message.vouch.survivors))
    if isinstance(message, Revealed):
        return tuple(sorted(share.silo for share in message.unmasking.seeds))
    return ()
