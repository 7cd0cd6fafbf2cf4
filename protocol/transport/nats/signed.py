"""Signed bytes: a header that only its sender can have made, followed by what the header speaks for. No I/O.

    "FWN1" | length of the header, 4 bytes | header | Ed25519 signature, 64 bytes | the rest

The signature is over [tag, SHA-256 of the header], so it holds for exactly these bytes and for one purpose.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from protocol.canonical import digest_bytes
from protocol.errors import MessageError
from protocol.identity import Identity, verify

MAX_HEADER = 1 << 16
_START = struct.Struct(">4sI")
_MAGIC = b"FWN1"
_SIGNATURE = 64


@dataclass(frozen=True, slots=True)
class Sealed:
    """One message in two parts: what was made for it, and a view of what it carries."""

    head: bytes
    rest: bytes | memoryview

    def __len__(self) -> int:
        return len(self.head) + len(self.rest)

    def __bytes__(self) -> bytes:
        return b"".join((self.head, self.rest))


def seal(identity: Identity, tag: str, header: bytes, rest: bytes | memoryview = b"") -> bytes:
    """`header` signed for the purpose `tag`, and `rest` behind it. Raises MessageError if the header is too long."""
    return bytes(seal_around(identity, tag, header, rest))


def seal_around(identity: Identity, tag: str, header: bytes, rest: bytes | memoryview) -> Sealed:
    """The same without a copy of `rest`."""
    if len(header) > MAX_HEADER:
        raise MessageError(f"a header of {len(header)} bytes is too long; address fewer silos at a time.")
    signature = identity.sign([tag, digest_bytes(header)])
    return Sealed(b"".join((_START.pack(_MAGIC, len(header)), header, signature)), rest)


def split(data: bytes | memoryview) -> tuple[bytes, bytes, memoryview]:
    """(header, signature, the rest as a view). Nothing is verified yet. Raises MessageError."""
    if len(data) < _START.size:
        raise MessageError("too short")
    magic, length = _START.unpack_from(data)
    end = _START.size + length + _SIGNATURE
    if magic != _MAGIC or length > MAX_HEADER or end > len(data):
        raise MessageError("not framed as a message")
    view = memoryview(data)
    return bytes(view[_START.size : end - _SIGNATURE]), bytes(view[end - _SIGNATURE : end]), view[end:]


def is_signed(public_key: bytes, tag: str, header: bytes, signature: bytes) -> bool:
    """Whether the owner of `public_key` signed `header` for the purpose `tag`."""
    return verify(public_key, signature, [tag, digest_bytes(header)])
