"""The end of a job: the aggregator collects what silos signed, and asks them to sign that nothing is missing."""

from __future__ import annotations

from msgspec import Struct

from protocol.messages.address import Address


class AskReceipts(Struct, frozen=True, forbid_unknown_fields=True, tag="ask-receipts"):
    """Every receipt of this job; answered by Receipts."""

    address: Address


class Receipts(Struct, frozen=True, forbid_unknown_fields=True, tag="receipts"):
    """The silo's chain of receipts (protocol.evidence.receipt), a line each, and the key that signed them.

    What hands receipts over makes none itself, nor does a cosignature: the chain stands still while the two are asked for.
    """

    address: Address
    public_key: bytes
    lines: bytes


class Cosign(Struct, frozen=True, forbid_unknown_fields=True, tag="cosign"):
    """The checkpoint (protocol.evidence.checkpoint) in canonical JSON; answered by Cosigned."""

    address: Address
    checkpoint: bytes


class Cosigned(Struct, frozen=True, forbid_unknown_fields=True, tag="cosigned"):
    """The silo's cosignature, as an envelope: its chain stands whole in the checkpoint. The job is closed at this silo."""

    address: Address
    cosignature: bytes
