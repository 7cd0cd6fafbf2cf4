"""What a silo says every few seconds, and at once when something changes. Signed. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from protocol.errors import MessageError
from protocol.identity import Identity
from protocol.transport.nats import signed
from protocol.transport.nats.transfer import MAX_BYTES, Hex, Name, Sequence

EVERY_S = 5.0
TAG = "fedward.heartbeat/1"


class Notice(Struct, frozen=True, forbid_unknown_fields=True):
    """Request `request` was answered; the reply lies in the silo's stream as transfer `reply` of `size` bytes."""

    request: Hex
    reply: Hex
    size: Annotated[int, Meta(ge=0, le=MAX_BYTES)]


class Heartbeat(Struct, frozen=True, forbid_unknown_fields=True):
    """`boot` is drawn at each start, `count` rises within it: a repeated heartbeat says nothing, whatever the clocks say.

    `working`: the request in hand, or empty. `sequence`: that of the latest request answered. `replied`: the latest reply.
    """

    consortium: Annotated[str, Meta(max_length=128)]
    silo: Name
    boot: Hex
    count: Annotated[int, Meta(ge=0)]
    state: Literal["ready", "leaving"]
    working: Annotated[str, Meta(max_length=32)]
    sequence: Sequence
    replied: Notice | None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Heartbeat)


def seal(identity: Identity, heartbeat: Heartbeat) -> bytes:
    """The heartbeat as it travels."""
    return signed.seal(identity, TAG, _encoder.encode(heartbeat))


def open_heartbeat(data: bytes, keys: Mapping[str, bytes], consortium: str) -> Heartbeat:
    """A heartbeat that its silo signed. Raises MessageError."""
    header, signature, rest = signed.split(data)
    try:
        heartbeat = _decoder.decode(header)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageError("it is not a heartbeat") from error
    key = keys.get(heartbeat.silo)
    if key is None or rest or not signed.is_signed(key, TAG, header, signature):
        raise MessageError("it is not signed by a silo that is pinned here")
    if heartbeat.consortium != consortium:
        raise MessageError("it is of another consortium")
    return heartbeat
