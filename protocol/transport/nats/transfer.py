"""A transfer: bytes of any length as signed chunks, each of which can be checked alone, in any order. No I/O.

Every chunk carries the whole signed description of its transfer, so there is no first or last message that could be lost,
and a chunk is authenticated before a byte of it is used.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from protocol.errors import MessageError
from protocol.identity import Identity
from protocol.transport.nats import signed

CHUNK_BYTES = 4 << 20
MAX_BYTES = 2 << 30
MAX_SEQUENCE = (1 << 53) - 1
TAG = "fedward.transfer/1"

Name = Annotated[str, Meta(max_length=63)]
Hex = Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]
Digest = Annotated[bytes, Meta(min_length=32, max_length=32)]
Sequence = Annotated[int, Meta(ge=0, le=MAX_SEQUENCE)]


class NotForMe(MessageError):
    """A genuine message for others; a broadcast reaches everybody."""


class Transfer(Struct, frozen=True, forbid_unknown_fields=True):
    """What is sent, by whom, to whom, in answer to what.

    `receivers`: each receiver's own sequence number; one that a silo has passed is never answered again. `answers`: the
    `reference` of the request a reply belongs to, empty in a request. `digest`: SHA-256 over the SHA-256 of every chunk in
    order. `kind` is `crash` for a reply that says that the handler failed.
    """

    consortium: Annotated[str, Meta(max_length=128)]
    kind: Literal["request", "reply", "crash"]
    sender: Name
    receivers: Annotated[dict[Name, Sequence], Meta(min_length=1, max_length=500)]
    id: Hex
    answers: Annotated[str, Meta(max_length=128)]
    digest: Digest
    size: Annotated[int, Meta(ge=0, le=MAX_BYTES)]

    @property
    def chunks(self) -> int:
        """How many chunks; empty bytes are one empty chunk."""
        return chunk_count(self.size)

    @property
    def reference(self) -> str:
        """What a reply to this transfer names: this request, with exactly these bytes."""
        return f"{self.id}:{self.digest.hex()}"

    def chunk_size(self, index: int) -> int:
        """The length of chunk `index` in bytes."""
        return min(CHUNK_BYTES, self.size - index * CHUNK_BYTES)


class Envelope(Struct, frozen=True, forbid_unknown_fields=True):
    """The signed header of one chunk."""

    transfer: Transfer
    index: Annotated[int, Meta(ge=0)]
    chunk: Digest


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Envelope)


@dataclass(frozen=True, slots=True)
class Parcel:
    """A transfer with its bytes, ready to be sent chunk by chunk."""

    transfer: Transfer
    data: memoryview
    digests: tuple[bytes, ...]

    def chunk(self, identity: Identity, index: int) -> bytes:
        """Chunk `index` with its signed envelope, as it travels."""
        return bytes(self.sealed(identity, index))

    def sealed(self, identity: Identity, index: int) -> signed.Sealed:
        """The same without a copy of the chunk."""
        start = index * CHUNK_BYTES
        header = _encoder.encode(Envelope(self.transfer, index, self.digests[index]))
        return signed.seal_around(identity, TAG, header, self.data[start : start + self.transfer.chunk_size(index)])


def pack(
    data: bytes,
    *,
    consortium: str,
    kind: Literal["request", "reply", "crash"],
    sender: str,
    receivers: dict[str, int],
    answers: str = "",
) -> Parcel:
    """`data` as a transfer. A request gets a random id; a reply's follows from what it answers and says, so that sending the
    same reply again, even after a restart, is the same transfer. Raises MessageError if `data` is too long.
    """
    if len(data) > MAX_BYTES:
        raise MessageError(f"{len(data)} bytes are more than one message may have ({MAX_BYTES}).")
    digests = chunk_digests(data)
    digest = whole_digest(digests)
    name = hashlib.sha256(f"{answers}/{kind}/{digest.hex()}".encode()).hexdigest()[:32] if answers else secrets.token_hex(16)
    transfer = Transfer(consortium, kind, sender, receivers, name, answers, digest, len(data))
    return Parcel(transfer, memoryview(data), digests)


def chunk_count(size: int) -> int:
    """How many chunks `size` bytes are."""
    return max(1, -(-size // CHUNK_BYTES))


def chunk_digests(data: bytes) -> tuple[bytes, ...]:
    """SHA-256 of each chunk of `data`."""
    view = memoryview(data)
    return tuple(hashlib.sha256(view[i * CHUNK_BYTES : (i + 1) * CHUNK_BYTES]).digest() for i in range(chunk_count(len(data))))


def whole_digest(digests: tuple[bytes, ...]) -> bytes:
    """What a transfer of chunks with these digests carries as its own."""
    return hashlib.sha256(b"".join(digests)).digest()


def open_chunk(data: bytes | memoryview, keys: Mapping[str, bytes], me: str, consortium: str) -> tuple[Envelope, memoryview]:
    """The envelope and a view of the chunk, both authenticated. Raises MessageError: what to log, nothing of the content.

    `keys` are the public keys pinned for each sender.
    """
    header, signature, chunk = signed.split(data)
    try:
        envelope = _decoder.decode(header)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageError("its header is not one of ours") from error
    transfer = envelope.transfer
    key = keys.get(transfer.sender)
    if key is None or not signed.is_signed(key, TAG, header, signature):
        raise MessageError("it is not signed by a party that is pinned here")
    if transfer.consortium != consortium:
        raise MessageError("it is of another consortium")
    if me not in transfer.receivers:
        raise NotForMe("it is addressed to others")
    if envelope.index >= transfer.chunks or len(chunk) != transfer.chunk_size(envelope.index):
        raise MessageError("its chunk has not the length that was signed")
    if hashlib.sha256(chunk).digest() != envelope.chunk:
        raise MessageError("its chunk was altered")
    return envelope, chunk
