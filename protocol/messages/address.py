"""What every message carries: where it belongs, and what a silo signs about its ledger."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from protocol.secure_aggregation import UPDATE, Purpose

Count = Annotated[int, Meta(ge=0)]
Round = Annotated[int, Meta(ge=0)]  # 0 stands for "before the first round"
Word = Annotated[str, Meta(max_length=128)]  # a name or a digest: it stands in logs and in what answers it

# A journal of JSON cannot hold NaN or infinity, so a hospital that sent one would stop the job for good; both fail a range.
Finite = Annotated[float, Meta(ge=-1e300, le=1e300)]
Positive = Annotated[float, Meta(ge=0.0, le=1e300)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Edges = tuple[tuple[Finite, ...], ...]
"""For each scored class the inner edges of its histograms, ascending log-odds; whoever counts with them checks them."""


class Address(Struct, frozen=True, forbid_unknown_fields=True):
    """What binds a message to its place: a reply is used only if its address equals the request's.

    `purpose` tells the phases of one secure aggregation from those of another, and an audit from all else; other messages
    have `update`.
    """

    job: Word
    plan_digest: Word
    round: Round
    attempt: Count
    purpose: Purpose = UPDATE


class Receipt(Struct, frozen=True, forbid_unknown_fields=True):
    """What a cohort's ledger held when something left: `entries` charges, the last with digest `head`; signed by the silo.

    `signature` is Ed25519 by `public_key` over the canonical JSON of the other fields. No field says anything of a patient.
    """

    cohort: str
    entries: Count
    head: str
    public_key: bytes
    signature: bytes
