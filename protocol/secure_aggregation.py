"""What silos and the aggregator exchange in a secure aggregation, phase by phase; see docs/secure-aggregation.md.

Plain structs: who checks what is in `privacy.secure_aggregation`. `manifest` in a message is the digest of the Manifest.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

SCHEMA = "fedward.secure-aggregation/2"
"""2: what a sum is for, and the model it is made with, are part of what is signed."""

UPDATE = "update"
"""The purpose of a round's sum of updates."""

AUDIT = "audit/federated/test"
"""The purpose of the audit: the final model's test by group, in one answer or one sum."""

Key = Annotated[bytes, Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]
Count = Annotated[int, Meta(ge=0)]
Purpose = Annotated[
    str, Meta(pattern=r"\A(update|scores/(federated|alone|personalised|recalibrated)/(validation|test)|audit/federated/test)\Z")
]
"""What a sum is for: `update`, the scores of one kind of model on one part, or the audit of the final model's test."""


class Member(Struct, frozen=True, forbid_unknown_fields=True):
    """A silo and its Ed25519 public key, known to all others from elsewhere than the aggregator."""

    name: str
    public_key: Key


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """What everybody knows, and has agreed to, before anything is sent. Its digest is in every signature."""

    schema: str
    job: str
    plan_digest: str
    roster: tuple[Member, ...]
    """In this order everywhere: the sign of a mask and the argument of a share follow from the position."""
    threshold: int
    """t: how many silos together can open a mask."""
    min_survivors: int
    """U: how many silos must be in the sum; the shares of noise are made for it."""
    colluders: int
    """c: how many silos may side with the aggregator."""
    size: int
    """Number of values in a vector."""
    width_bits: int
    """16, 32 or 64: sums are modulo 2^width_bits."""
    parameters: dict[str, Any] = {}
    """What else the silos must agree on (purpose, model, noise, clipping, scale), as JSON types."""


class Where(Struct, frozen=True, forbid_unknown_fields=True, order=True):
    """The one aggregation that a message belongs to; attempts are counted for each purpose by itself."""

    job: str
    round: Count
    attempt: Count
    purpose: Purpose = UPDATE

    @property
    def scoring(self) -> tuple[str, str]:
        """(kind, split) of the scores or the audit that is summed; two empty texts if it is an update."""
        return scoring_of(self.purpose)


def scores_purpose(kind: str, split: str) -> str:
    """The purpose of the sum of one scoring."""
    return f"scores/{kind}/{split}"


def scoring_of(purpose: str) -> tuple[str, str]:
    """(kind, split) of the scoring or audit with this purpose; two empty texts for an update."""
    _, kind, split = purpose.split("/") if purpose != UPDATE else ("", "", "")
    return kind, split


class Advertisement(Struct, frozen=True, forbid_unknown_fields=True):
    """A silo's two fresh X25519 keys for one attempt, signed with its identity.

    `seed_digest` is what its self-mask will be checked against if it must be opened.
    """

    where: Where
    manifest: str
    silo: str
    mask_key: Key
    share_key: Key
    seed_digest: Key
    signature: Signature


class EncryptedShares(Struct, frozen=True, forbid_unknown_fields=True):
    """One share of the sender's two secrets, readable by the receiver only: nonce, then AES-256-GCM ciphertext and tag."""

    where: Where
    manifest: str
    sender: str
    receiver: str
    sealed: bytes


class Vouch(Struct, frozen=True, forbid_unknown_fields=True):
    """A silo's signed word that it was shown these survivors, among those who shared (`sharers` is a digest of them)."""

    where: Where
    manifest: str
    silo: str
    sharers: str
    survivors: tuple[str, ...]
    signature: Signature


class Share(Struct, frozen=True, forbid_unknown_fields=True):
    """A share of a secret of `silo`."""

    silo: str
    value: bytes


class Unmasking(Struct, frozen=True, forbid_unknown_fields=True):
    """One silo's shares of the survivors' self-mask seeds and of the others' mask keys; never both of one silo."""

    where: Where
    manifest: str
    silo: str
    seeds: tuple[Share, ...]
    keys: tuple[Share, ...]
