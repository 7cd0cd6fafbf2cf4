"""What travels between a hospital and the coordinator: typed, frozen, canonical JSON, signed.

A signature is over the canonical JSON (RFC 8785) of all other fields, the schema's name among them, so no record can be passed
off as another kind. Unknown fields are refused: what is not signed is not read. Keys and digests are lower-case hex.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import msgspec

from protocol.canonical import canonical_json
from protocol.errors import TrustError
from protocol.identity import Identity, verify

Name = Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?\Z")]
"""A silo or a consortium. It becomes part of subjects, of a configuration and of file names, so it holds nothing else."""
Digest = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
"""SHA-256, or an Ed25519 public key: 32 bytes."""
Signature = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{128}\Z")]
UNSIGNED = "0" * 128
"""Holds the place of a signature that is still to be made."""
Pem = Annotated[str, msgspec.Meta(max_length=8192)]
Url = Annotated[str, msgspec.Meta(pattern=r"\A(tls|wss)://[A-Za-z0-9.\-\[\]:]{1,255}(/[A-Za-z0-9._/-]{0,200})?\Z")]
Sequence = Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]


class JoinRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="schema", tag="fedward.join/1"):
    """A hospital asks to be `name`. Signed by its identity; the CSR is signed by its TLS key: it holds both."""

    name: Name
    identity: Digest
    csr: Pem
    signature: Signature


class Party(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A member as the others know it.

    `tls_key` is the SHA-256 of its TLS public key (SubjectPublicKeyInfo), `certificate` that of its certificate (DER). `former`
    are TLS keys that the broker still takes while a rotation is under way.
    """

    name: Name
    identity: Digest
    tls_key: Digest
    certificate: Digest
    state: Literal["active", "revoked"] = "active"
    former: tuple[Digest, ...] = ()


class Roster(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="schema", tag="fedward.roster/1"):
    """Who belongs to the consortium, signed by the coordinator. `sequence` only rises; members are sorted by name."""

    consortium: Name
    sequence: Sequence
    url: Url
    ca: Pem
    coordinator: Digest
    aggregator: Party
    members: tuple[Party, ...]
    signature: Signature

    def member(self, name: str) -> Party | None:
        """The member of that name, active or revoked."""
        return next((member for member in self.members if member.name == name), None)

    @property
    def active(self) -> tuple[Party, ...]:
        """The members that may take part."""
        return tuple(member for member in self.members if member.state == "active")


class Kit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="schema", tag="fedward.kit/1"):
    """The coordinator's answer to a request. Not signed itself: the roster inside is, and holds the certificate's digest."""

    roster: Roster
    certificate: Pem


Record = TypeVar("Record", JoinRequest, Roster, Kit)
Signed = TypeVar("Signed", JoinRequest, Roster)

_WHAT = {JoinRequest: "join request", Roster: "roster", Kit: "kit"}


def encode(record: JoinRequest | Roster | Kit) -> bytes:
    """The record's canonical bytes: one meaning, one file, one digest."""
    return canonical_json(msgspec.to_builtins(record))


def decode(data: bytes, kind: type[Record]) -> Record:
    """A record of that kind; signatures are not looked at here. Raises TrustError."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise TrustError(f"this is no {_WHAT[kind]}: {error}. Ask its sender for the file again.") from error


def sign(record: Signed, identity: Identity) -> Signed:
    """`record` with the signature of `identity`."""
    return msgspec.structs.replace(record, signature=identity.sign(_body(record)).hex())


def signed_by(record: JoinRequest | Roster, public_key: str) -> bool:
    """Whether the owner of `public_key` (hex) signed exactly this record."""
    return verify(bytes.fromhex(public_key), bytes.fromhex(record.signature), _body(record))


def _body(record: JoinRequest | Roster) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.to_builtins(record)
    del body["signature"]
    return body
