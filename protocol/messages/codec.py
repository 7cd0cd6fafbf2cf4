"""The only codec that reads messages: MessagePack through msgspec."""

from __future__ import annotations

import msgspec

from protocol.errors import MessageError
from protocol.messages.releases import Release
from protocol.messages.requests import Request

_encoder = msgspec.msgpack.Encoder()
_requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_releases: msgspec.msgpack.Decoder[Release] = msgspec.msgpack.Decoder(Release)


def encode(message: Request | Release) -> bytes:
    """One message as MessagePack bytes."""
    return _encoder.encode(message)


def decode_request(data: bytes) -> Request:
    """Bytes a silo received; vectors are views into `data`, not copies. Raises MessageError."""
    try:
        return _requests.decode(data)
    except (msgspec.DecodeError, ValueError) as error:
        raise MessageError(f"not a request fedward knows: {error}. Run the same release on both sides.") from error


def decode_release(data: bytes) -> Release:
    """Bytes the aggregator received; vectors are views into `data`, not copies. Raises MessageError."""
    try:
        return _releases.decode(data)
    except (msgspec.DecodeError, ValueError) as error:
        raise MessageError(f"not a release fedward knows: {error}. Run the same release on both sides.") from error
