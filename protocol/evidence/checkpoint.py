"""The checkpoint: a job's whole course in one record, made by the aggregator at its end and signed by every silo.

A chain of receipts cannot show that its end is missing. A silo's signature under the checkpoint can: it signs only what holds
its chain to the last receipt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from protocol.canonical import digest_bytes
from protocol.errors import EvidenceError
from protocol.evidence.dsse import seal, unseal
from protocol.evidence.merkle import root
from protocol.identity import Identity

COSIGNATURE = "application/vnd.fedward.cosignature+json"


class Site(Struct, frozen=True, forbid_unknown_fields=True):
    """A silo of the roster; `public_key` in hexadecimal, empty if it never said."""

    name: str
    public_key: str


class Chain(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a silo's chain of receipts ends."""

    site: str
    length: int
    head: str


class Round(Struct, frozen=True, forbid_unknown_fields=True):
    """A committed round: the digests of the global model that silos trained from and of that after it, and who is in it.

    `trained` gave a usable update, `aggregated` are in the model. `rejected`: the guard did not let the outcome stand.
    """

    round: int
    attempt: int
    trained: tuple[str, ...]
    aggregated: tuple[str, ...]
    before: str
    after: str
    rejected: bool = False


class Checkpoint(Struct, frozen=True, forbid_unknown_fields=True, tag_field="schema", tag="fedward.checkpoint/1"):
    """`model` is the digest of the final model; `scored` says which model was shown to be scored after a round before the last.

    `absent` says of each silo whose chain is not here why. `root` is that of the Merkle tree of all receipts: silos by name,
    each with its chain in order.
    """

    job: str
    plan_digest: str
    roster: tuple[Site, ...]
    rounds: tuple[Round, ...]
    scored: dict[str, str]
    model: str
    chains: tuple[Chain, ...]
    absent: dict[str, str]
    receipts: int
    root: str

    def chain(self, site: str) -> Chain | None:
        """Where the chain of `site` ends, if it is here."""
        return next((one for one in self.chains if one.site == site), None)

    def key(self, site: str) -> str | None:
        """The public key of `site` in hexadecimal; None if it is not on the roster."""
        return next((one.public_key for one in self.roster if one.name == site), None)


class Cosignature(Struct, frozen=True, forbid_unknown_fields=True, tag_field="schema", tag="fedward.cosignature/1"):
    """`site` has seen the checkpoint with this digest, and found its own chain, plan and models in it.

    `model`: whether the final model in it is the one the silo was last given to score, or it was never given one.
    """

    site: str
    job: str
    plan_digest: str
    checkpoint: str
    model: Literal["as scored", "not seen"]


def tree_root(chains: Mapping[str, Sequence[bytes]]) -> str:
    """The root over all receipts, as `sha256:...`."""
    return "sha256:" + root(all_receipts(chains)).hex()


def all_receipts(chains: Mapping[str, Sequence[bytes]]) -> list[bytes]:
    """The leaves of the tree: silos by name, each with its receipts in order."""
    return [line for site in sorted(chains) for line in chains[site]]


def cosign(identity: Identity, cosignature: Cosignature) -> bytes:
    """The envelope of a cosignature."""
    return seal(identity, cosignature.site, COSIGNATURE, cosignature)


def check_cosignature(envelope: bytes, checkpoint: bytes, site: str, public_key: bytes) -> Cosignature:
    """Raises EvidenceError unless `site` signed just this checkpoint (its canonical bytes)."""
    found = unseal(envelope, site, public_key, COSIGNATURE, Cosignature)
    if found.site != site:
        raise EvidenceError(f"it speaks for {found.site}, not for {site}")
    if found.checkpoint != digest_bytes(checkpoint):
        raise EvidenceError("it is under another checkpoint")
    return found


def lines_of(data: bytes) -> tuple[bytes, ...]:
    """Receipts from a file of lines. Raises EvidenceError if the last line has no end."""
    if data and not data.endswith(b"\n"):
        raise EvidenceError("its last line has no end: it was cut")
    return tuple(data.split(b"\n")[:-1])


def as_lines(lines: Iterable[bytes]) -> bytes:
    """The file of these receipts."""
    return b"".join(line + b"\n" for line in lines)
