"""Sending a parcel: a few chunks at a time, each until the broker has stored it. Sending twice is harmless."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from protocol.errors import TransportError
from protocol.identity import Identity
from protocol.transport.nats.link import RETRY, Link
from protocol.transport.nats.signed import Sealed
from protocol.transport.nats.transfer import Parcel

_log = logging.getLogger(__name__)
WINDOW = 4
"""Chunks on their way at a time: what a slow line and the broker have to buffer, and what a sender holds in copies."""

_STORED_WITHIN_S = 60.0
_PAUSE_S = (0.1, 2.0)


async def send(link: Link, identity: Identity, parcel: Parcel, subject: str, deadline: float) -> None:
    """Store every chunk at `subject`.<index>; `deadline` is in the loop's time. Raises TransportError when it has passed."""
    indices = iter(range(parcel.transfer.chunks))

    async def worker() -> None:
        for index in indices:
            await put(link, f"{subject}.{index}", partial(parcel.sealed, identity, index), deadline)

    workers = [asyncio.ensure_future(worker()) for _ in range(min(WINDOW, parcel.transfer.chunks))]
    try:
        await asyncio.gather(*workers)
    finally:
        for one in workers:
            one.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


async def put(link: Link, subject: str, body: Callable[[], Sealed], deadline: float) -> None:
    """Store one message. The subject is its name: the broker drops a repetition within its window, receivers any other."""
    loop, pause, reason = asyncio.get_running_loop(), _PAUSE_S[0], "the broker cannot be reached"
    while (left := deadline - loop.time()) > 0:
        try:
            async with asyncio.timeout(left):
                answer = await link.request(subject, body(), _STORED_WITHIN_S, {"Nats-Msg-Id": subject})
            error = _error(answer.data)
            if error is None:
                return
            reason = f"the broker stores nothing more for it: {error}"
            _log.warning("the broker did not store a chunk: %s", error)
        except RETRY as raised:
            _log.debug("sending again: %s", type(raised).__name__)
        await asyncio.sleep(min(pause, max(0.0, deadline - loop.time())))
        pause = min(2 * pause, _PAUSE_S[1])
    raise TransportError(f"{reason}; it was not sent in time.")


def _error(data: bytes) -> str | None:
    try:
        answer: Any = json.loads(data)
        error = answer.get("error")
        return None if error is None else f"{error.get('description')} ({error.get('err_code')})"[:200]
    except (ValueError, AttributeError):
        return "an answer that is not one of JetStream's"
