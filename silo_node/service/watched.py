"""A silo's handler with somebody who counts and logs: what kind of request, what came of it, how long it took."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from protocol.errors import MessageError
from protocol.messages import Address, Refusal, decode_release, decode_request
from protocol.transport.base import Handler

if TYPE_CHECKING:
    from silo_node.service.metrics import SiloMetrics

_log = logging.getLogger(__name__)
_NOWHERE = Address("", "", 0, 0)


class Watched:
    """Calls `handler`; nothing of what a message holds is kept, only its kind and its place."""

    def __init__(self, silo: str, handler: Handler, metrics: SiloMetrics) -> None:
        self._silo, self._handler, self._metrics = silo, handler, metrics

    def __call__(self, request: bytes, /) -> bytes:
        """Answer as the handler does."""
        kind, address = _request(request)
        start = time.monotonic()
        self._metrics.begin(kind)
        try:
            reply = self._handler(request)
        finally:
            self._metrics.end()
        seconds = time.monotonic() - start
        refusal = _refusal(reply)
        outcome = "refused" if refusal else "answered"
        self._metrics.answered(kind, outcome, seconds)
        place = {"silo": self._silo, "job": address.job, "round": address.round, "attempt": address.attempt, "kind": kind}
        fields = {"event": "request", **place, "outcome": outcome, "seconds": round(seconds, 3)}
        fields |= {"bytes_in": len(request), "bytes_out": len(reply)}
        if refusal:
            fields |= {"error": refusal.error, "reason": refusal.reason}
        _log.log(logging.WARNING if refusal else logging.INFO, "request", extra=fields)
        return reply


def _request(data: bytes) -> tuple[str, Address]:
    try:
        request = decode_request(data)
    except MessageError:
        return "unknown", _NOWHERE
    return type(request).__name__, request.address


def _refusal(data: bytes) -> Refusal | None:
    try:
        release = decode_release(data)
    except MessageError:
        return None
    return release if isinstance(release, Refusal) else None
