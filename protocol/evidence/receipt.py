"""The receipt of one release: what a silo signs about something that left it, chained to the receipt before.

No field depends on a patient beyond what left anyway, and none is a time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from msgspec import Struct

from protocol.canonical import digest_bytes
from protocol.errors import EvidenceError
from protocol.evidence.dsse import seal, unseal
from protocol.identity import Identity

TYPE = "application/vnd.fedward.release-receipt+json"
LOCAL = "local"
"""Who approved the plan: the hospital's own policy file."""
UPDATES = frozenset({"update", "private-update", "masked-update"})
"""Kinds of release that come of training from a global model."""
REFUSAL = "refusal"


class LedgerHead(Struct, frozen=True, forbid_unknown_fields=True):
    """The cohort's ledger when it left: `entries` charges, the last with this digest."""

    entries: int
    head: str


class Charged(Struct, frozen=True, forbid_unknown_fields=True):
    """What the release cost a patient of `part`, as a privacy event (privacy.event_json); `release` is its name there."""

    release: str
    part: str
    event: Any


class ReleaseReceipt(Struct, frozen=True, forbid_unknown_fields=True, tag_field="schema", tag="fedward.release-receipt/1"):
    """One release of `site` for one job.

    `previous` is the digest of the envelope before it, empty for the first; `seq` counts from 0. `kind` is the release's tag.
    `model` is the digest of the global vector that the request carried, if any. `commitment` is the SHA-256 of the bytes that
    left, `metrics` that of the figures in them, if scores left. `survivors` are those the silo was shown as being in a sum.
    """

    site: str
    seq: int
    previous: str
    job: str
    plan_digest: str
    approval: str
    round: int
    attempt: int
    purpose: str
    kind: str
    model: str
    commitment: str
    metrics: str = ""
    survivors: tuple[str, ...] = ()
    ledger: LedgerHead | None = None
    charged: Charged | None = None

    @property
    def place(self) -> tuple[int, int, str]:
        """(round, attempt, purpose)."""
        return self.round, self.attempt, self.purpose


@dataclass(frozen=True, slots=True)
class Head:
    """Where a chain ends: how many receipts, and the digest of the last; empty for none."""

    length: int = 0
    digest: str = ""


def write_receipt(identity: Identity, receipt: ReleaseReceipt) -> bytes:
    """The receipt's envelope: one line without its end."""
    return seal(identity, receipt.site, TYPE, receipt)


def read_chain(
    lines: Iterable[bytes], site: str, public_key: bytes, job: str, plan_digest: str
) -> tuple[tuple[ReleaseReceipt, ...], Head]:
    """The receipts of one silo for one job, each signed, in order and without a gap, and where they end.

    Raises EvidenceError naming the first that is not so. That none is missing at the end needs the checkpoint.
    """
    receipts: list[ReleaseReceipt] = []
    previous = ""
    for line in lines:
        where = f"receipt {len(receipts)} of {site}"
        try:
            receipt = unseal(line, site, public_key, TYPE, ReleaseReceipt)
        except EvidenceError as error:
            raise EvidenceError(f"{where}: {error}.") from error
        if problem := _out_of_place(receipt, len(receipts), previous, site, job, plan_digest):
            raise EvidenceError(f"{where}: {problem}.")
        receipts.append(receipt)
        previous = digest_bytes(line)
    return tuple(receipts), Head(len(receipts), previous)


def _out_of_place(receipt: ReleaseReceipt, seq: int, previous: str, site: str, job: str, plan_digest: str) -> str:
    if receipt.site != site:
        return f"it is a receipt of {receipt.site}"
    if receipt.job != job:
        return f"it is of another job, {receipt.job}: it was replayed"
    if receipt.plan_digest != plan_digest and receipt.kind != REFUSAL:  # a request of another plan is refused
        return "it is of another plan"
    if receipt.seq > seq:
        return f"it says it is number {receipt.seq}: one before it was dropped, or the order was changed"
    if receipt.seq < seq:
        return f"it says it is number {receipt.seq}: it stands there a second time, or the order was changed"
    if receipt.previous != previous:
        return "it does not follow the one before it"
    return ""
