"""The aggregator's connection at work: listens to heartbeats, stores requests, takes them back. Runs on the bridge's loop."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping

from nats.aio.client import Client
from nats.aio.msg import Msg

from protocol.errors import MessageError, TransportError
from protocol.identity import Identity
from protocol.transport.nats.endpoint import Endpoint
from protocol.transport.nats.heartbeat import open_heartbeat
from protocol.transport.nats.link import RETRY, Link
from protocol.transport.nats.outgoing import Post
from protocol.transport.nats.presence import Presence
from protocol.transport.nats.sending import send
from protocol.transport.nats.streams import Sizes, clear, ensure, forget_strangers
from protocol.transport.nats.subjects import BROADCAST, HEARTBEATS, broadcast, down, down_stream, up_stream

_log = logging.getLogger(__name__)
_CONNECT_S = 30.0
_SENDS = 8


class Station:
    """One aggregator at one broker. Make it on the loop, then `start` it. `news` guards `presence` and tells of changes."""

    def __init__(
        self, endpoint: Endpoint, identity: Identity, keys: Mapping[str, bytes], consortium: str, lost_after_s: float
    ) -> None:
        self._identity, self._keys, self._consortium, self._url = identity, keys, consortium, endpoint.url
        self.news = threading.Condition()
        self.presence = Presence(keys, time.monotonic(), lost_after_s)
        self.link = Link(endpoint, self._opened, self._changed)
        self._sending = asyncio.Semaphore(_SENDS)

    async def start(self, sizes: Sizes) -> None:
        """Connect, delete the streams of silos that left, make the others, and clear them. Raises TransportError."""
        self._keep = asyncio.ensure_future(self.link.keep())
        try:
            async with asyncio.timeout(_CONNECT_S):
                await self.link.client()
                if gone := await forget_strangers(self.link, self._keys):  # first: their disk is room for the others
                    _log.info("deleted at the broker: %s", ", ".join(gone), extra={"event": "silos left the broker"})
                await ensure(self.link, self._keys, sizes)
                for stream in (BROADCAST, *map(down_stream, self._keys), *map(up_stream, self._keys)):
                    await clear(self.link, stream)
        except RETRY as error:
            raise TransportError(
                f"no broker answers at {self._url}: is it running, with JetStream on, and may this user in?"
            ) from error

    async def listen(self) -> None:
        """Hear everything that has arrived, so that no silo seems silent because this side was busy."""
        try:
            await (await asyncio.wait_for(self.link.client(), 5)).flush(5)
            await asyncio.sleep(0)
        except RETRY as error:
            _log.warning("the broker is away: %s", type(error).__name__)

    async def send(self, post: Post, clear_first: Iterable[str], deadline_s: float, done: Callable[[str | None], None]) -> None:
        """Store a request; `done`, with `news` held, is told None, or why it could not be stored within `deadline_s` seconds.

        `clear_first`: silos whose late replies to earlier requests may fill the room that this one's reply needs.
        """
        deadline, failure = asyncio.get_running_loop().time() + deadline_s, None
        try:
            async with self._sending:
                for silo in clear_first:
                    await self.forget(up_stream(silo))
                await send(self.link, self._identity, post.parcel, post.subject, deadline)
        except TransportError as error:
            failure = str(error)
        with self.news:
            done(failure)
            self.news.notify_all()

    async def withdraw(self, posts: list[Post], late: dict[str, str]) -> None:
        """Take back what nobody awaits any more, so that no silo works on it when it comes back."""
        for post in posts:
            if len(post.asked) > 1:
                await self.forget(BROADCAST, f"{broadcast(post.parcel.transfer.id)}.>")
        for silo, request in late.items():
            await self.forget(down_stream(silo), f"{down(silo, request)}.>")

    async def forget(self, stream: str, subjects: str | None = None, before: int | None = None) -> None:
        """Clear a stream or a part of it; if the broker is away, that is left for the next time."""
        try:
            await clear(self.link, stream, subjects, before)
        except (TransportError, *RETRY) as error:
            _log.warning("%s could not be cleared: %s", stream, type(error).__name__)

    async def _opened(self, client: Client) -> None:
        await client.subscribe(HEARTBEATS, cb=self._on_heartbeat)

    def _changed(self, connected: bool) -> None:
        with self.news:
            if connected:
                self.presence.connected(time.monotonic())
            else:
                self.presence.disconnected()

    async def _on_heartbeat(self, message: Msg) -> None:
        try:
            heartbeat = open_heartbeat(message.data, self._keys, self._consortium)
        except MessageError as error:
            _log.warning("dropped a heartbeat: %s", error)
            return
        with self.news:
            if self.presence.observe(heartbeat, time.monotonic()):
                self.news.notify_all()
