"""Pulling messages out of one consumer, a few at a time, and only while there is room for them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable

from nats.aio.client import Client
from nats.aio.msg import Msg

from protocol.transport.nats.link import RETRY, Link
from protocol.transport.nats.subjects import next_messages

_log = logging.getLogger(__name__)
WINDOW = 4
"""Chunks that the broker may have on their way to this source; well below what makes it cut a slow connection.

On a slow line fewer: one that is longer on its way than the broker waits would be sent again and again.
"""

_FAST_S, _SLOW_S = 1.0, 2.5

_EXPIRES_S = 5.0
_PAUSE_S = 0.5
_USUAL = ("404", "408")  # nothing there, nothing came in time


class Source:
    """One consumer of one stream. No heartbeats are asked for: with nats-py they cost messages that come again much later.

    Each pull has an inbox of its own, so that the end of an old one is told from that of the one that counts. Asking again for
    both would leave one more pull at the broker each time, until it takes no more and every message is late.
    """

    def __init__(self, api: str, stream: str, consumer: str) -> None:
        self._subject = next_messages(api, stream, consumer)
        self._name, self._inbox = stream, ""
        self._arrived: asyncio.Queue[Msg | None] = asyncio.Queue()
        self._window, self._pull = 2, 0

    async def subscribe(self, client: Client) -> None:
        """Listen for what is pulled, on a new client."""
        self._inbox = client.new_inbox()
        await client.subscribe(f"{self._inbox}.*", cb=self._on_message)

    def returned(self) -> None:
        """The connection was away, and with it everything that was asked for."""
        self._arrived.put_nowait(None)

    async def pull(self, link: Link, free: asyncio.Event, receive: Callable[[str, Msg], Awaitable[None]]) -> None:
        """Hand every message to `receive`, for ever; nothing is asked for while `free` is not set."""
        loop, credit, until = asyncio.get_running_loop(), 0, 0.0
        last: float | None = None
        while True:
            await free.wait()
            if credit <= 0 or loop.time() >= until:
                try:
                    client = await link.client()
                    ask = {"batch": self._window, "expires": int(_EXPIRES_S * 1e9)}
                    self._pull += 1
                    await client.publish(self._subject, json.dumps(ask).encode(), reply=f"{self._inbox}.{self._pull}")
                except RETRY as error:
                    _log.debug("asking again: %s", type(error).__name__)
                    await asyncio.sleep(_PAUSE_S)
                    continue
                credit, until = self._window, loop.time() + _EXPIRES_S + 1
            try:
                async with asyncio.timeout_at(until):
                    message = await self._arrived.get()
            except TimeoutError:
                credit = 0
                continue
            status = "returned" if message is None else (message.headers or {}).get("Status")
            if message is not None and status is not None and message.subject != f"{self._inbox}.{self._pull}":
                continue
            if message is None or status is not None:
                credit = 0
                if message is not None and status not in _USUAL:
                    _log.debug("the broker answered %s for %s", status, self._name)
                    await asyncio.sleep(_PAUSE_S)
                continue
            credit -= 1
            last = self._pace(last, loop.time())
            until = max(until, loop.time() + _EXPIRES_S + 1)
            await receive(self._name, message)
            del message

    def _pace(self, last: float | None, now: float) -> float:
        """Ask for more or fewer at a time, by how long the next message took; after a pause it starts small."""
        if last is not None and now - last < _FAST_S:
            self._window = WINDOW
        elif last is not None and now - last > _SLOW_S:
            self._window = 1
        return now

    async def _on_message(self, message: Msg) -> None:
        await self._arrived.put(message)
