"""Signed envelopes: DSSE (Dead Simple Signing Envelope, v1.0.2) with one Ed25519 signature, in canonical JSON.

What is signed names its own type, so a signature under one kind of statement is never one under another. Envelope and payload
have one spelling only: who changes a byte, even where JSON or base64 would not mind, has made something that is refused.
"""

from __future__ import annotations

import base64
import binascii
from functools import lru_cache
from typing import TypeVar

import msgspec
import rfc8785
from msgspec import Struct

from protocol.canonical import canonical_json
from protocol.errors import EvidenceError
from protocol.identity import Identity, verify_bytes

T = TypeVar("T", bound=Struct)


class Signature(Struct, frozen=True, forbid_unknown_fields=True):
    """`keyid` is the signer's name; which key that is, the reader must know from elsewhere."""

    keyid: str
    sig: str


class Envelope(Struct, frozen=True, forbid_unknown_fields=True):
    """`payload` and `sig` in base64."""

    payloadType: str
    payload: str
    signatures: tuple[Signature, ...]


def seal(identity: Identity, name: str, kind: str, statement: Struct) -> bytes:
    """`statement` in an envelope, signed as `name`: canonical bytes."""
    payload = canonical_json(msgspec.to_builtins(statement))
    signature = Signature(name, _base64(identity.sign_bytes(_encoded(kind, payload))))
    return canonical_json(msgspec.to_builtins(Envelope(kind, _base64(payload), (signature,))))


def unseal(data: bytes, name: str, public_key: bytes, kind: str, statement: type[T]) -> T:
    """The statement in `data`. Raises EvidenceError unless `name` signed just this, as this kind, with `public_key`."""
    try:
        envelope = msgspec.json.decode(data, type=Envelope)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise EvidenceError(f"it cannot be read: {_short(str(error))}") from error
    if envelope.payloadType != kind or len(envelope.signatures) != 1:
        raise EvidenceError(f"it is {_short(envelope.payloadType)} with {len(envelope.signatures)} signatures, not one {kind}")
    (signature,) = envelope.signatures
    if signature.keyid != name:
        raise EvidenceError(f"it is signed as {_short(signature.keyid)}, not as {name}")
    payload, signed = _bytes(envelope.payload), _bytes(signature.sig)
    first, second, third = _frame(name, kind)
    if data != b"".join((first, envelope.payload.encode(), second, signature.sig.encode(), third)):
        raise EvidenceError("its envelope is not in canonical JSON: it was changed")
    if not verify_bytes(public_key, signed, _encoded(kind, payload)):
        raise EvidenceError(f"its signature is not one of the key of {name}: it was forged or changed")
    return parse(payload, statement)


@lru_cache(maxsize=256)
def _frame(name: str, kind: str) -> tuple[bytes, bytes, bytes]:
    """What stands before, between and after payload and signature, which as base64 stand for themselves."""
    whole = canonical_json(msgspec.to_builtins(Envelope(kind, "\x00", (Signature(name, "\x00"),))))
    first, second, third = whole.split(rb"\u0000")
    return first, second, third


def parse(data: bytes, kind: type[T]) -> T:
    """A record from its canonical JSON. Raises EvidenceError for any other bytes, also for another spelling of the same."""
    try:
        found = msgspec.json.decode(data, type=kind)
        same = canonical_json(msgspec.to_builtins(found)) == data
    except (msgspec.DecodeError, ValueError, RecursionError, rfc8785.CanonicalizationError) as error:
        raise EvidenceError(f"it cannot be read: {_short(str(error))}") from error
    if not same:
        raise EvidenceError("it is not in canonical JSON: it was changed")
    return found


def _encoded(kind: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding."""
    name = kind.encode()
    return b"DSSEv1 %d %s %d %s" % (len(name), name, len(payload), payload)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise EvidenceError("it is not base64: it was changed") from error
    if _base64(data) != text:
        raise EvidenceError("its base64 is not in its only spelling: it was changed")
    return data


def _short(text: str) -> str:
    """Foreign words as they may stand on a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:120])
