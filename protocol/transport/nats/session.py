"""A silo's connection at work: pulls requests, holds them, sends replies, says that it lives. Runs on the bridge's loop."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Literal

from nats.aio.client import Client
from nats.aio.msg import Msg

from protocol.errors import TransportError
from protocol.identity import Identity
from protocol.transport.nats import heartbeat
from protocol.transport.nats.desk import Desk, Task
from protocol.transport.nats.endpoint import Endpoint
from protocol.transport.nats.heartbeat import Heartbeat, Notice
from protocol.transport.nats.link import RETRY, Link
from protocol.transport.nats.memory import Memory, Remembered
from protocol.transport.nats.pulling import Source
from protocol.transport.nats.sending import send
from protocol.transport.nats.streams import HOLD_S
from protocol.transport.nats.subjects import BROADCAST, INBOX, down_stream, up
from protocol.transport.nats.subjects import heartbeat as heartbeat_subject
from protocol.transport.nats.transfer import Parcel

_log = logging.getLogger(__name__)
_REPLY_WITHIN_S = 3600.0
_REPLY_WITHIN_AT_STOP_S = 20.0


class Session:
    """One silo from `start` to `leave`."""

    def __init__(
        self, endpoint: Endpoint, identity: Identity, name: str, aggregator_key: bytes, consortium: str, memory: Memory
    ) -> None:
        self._identity, self._name, self._consortium, self._memory = identity, name, consortium, memory
        self._desk = Desk(name, aggregator_key, consortium, memory.now)
        self._link = Link(endpoint, self._opened, self._changed)
        self._sources = [Source(endpoint.api, BROADCAST, name), Source(endpoint.api, down_stream(name), INBOX)]
        self._boot, self._count = secrets.token_hex(16), 0
        self._tasks: list[asyncio.Task[None]] = []
        self._free, self._wake, self._beat, self._stop = (asyncio.Event() for _ in range(4))

    async def start(self) -> None:
        """Begin to connect, to pull and to say so."""
        self._free.set()
        self._run(self._link.keep())
        self._run(self._beats())
        self._run(self._holds())
        for source in self._sources:
            self._run(source.pull(self._link, self._free, self._receive))

    @property
    def connected(self) -> bool:
        """Whether the broker is reached now."""
        return self._link.up

    def stop(self) -> None:
        """Take no further request."""
        self._stop.set()
        self._wake.set()

    async def next(self) -> Task | None:
        """The next request; None after `stop`. Raises TransportError once the broker has refused this silo for good."""
        while not self._stop.is_set():
            if (task := self._desk.take()) is not None:
                self._beat.set()
                return task
            for one in self._tasks:
                if one.done() and not one.cancelled():
                    one.result()
                    await self._link.client()  # raises why it ended
            await self._wake.wait()
            self._wake.clear()
        return None

    async def answer(self, task: Task, parcel: Parcel) -> None:
        """Store the reply in the broker, remember that it is there, tell the aggregator, and let the request go."""
        loop = asyncio.get_running_loop()
        subject = up(self._name, parcel.transfer.id)
        sending = asyncio.ensure_future(send(self._link, self._identity, parcel, subject, loop.time() + _REPLY_WITHIN_S))
        stopped = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({sending, stopped}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait_for(sending, _REPLY_WITHIN_AT_STOP_S if self._stop.is_set() else None)
            notice = Notice(task.transfer.id, parcel.transfer.id, parcel.transfer.size)
        except TimeoutError:
            return  # stopped, and the broker is away: the request stays open and comes again
        except TransportError as error:
            self._say_log(logging.ERROR, "a reply was not sent", str(error))
            notice = None
        finally:
            stopped.cancel()
            sending.cancel()
            await asyncio.gather(stopped, sending, return_exceptions=True)
        try:
            self._memory.keep(Remembered(task.sequence, notice))
        except OSError as error:
            self._say_log(logging.ERROR, "the inbox's memory cannot be written", error.strerror or type(error).__name__)
        done = self._desk.answered(task)
        with suppress(*RETRY):
            if self._link.up:
                await self._say("ready")  # before the request is let go: if this silo dies in between, it comes again
        await self._tell(done, b"+ACK")
        self._beat.set()
        if not self._desk.busy:
            self._free.set()

    async def leave(self) -> None:
        """Give back what is open, say goodbye, and close."""
        with suppress(TimeoutError, TransportError, *RETRY):
            async with asyncio.timeout(3):
                await self._tell(self._desk.deliveries, b"-NAK")
                await self._say("leaving")
                await (await self._link.client()).flush(2)
        for one in self._tasks:
            one.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        task.add_done_callback(lambda _: self._wake.set())
        self._tasks.append(task)

    async def _opened(self, client: Client) -> None:
        for source in self._sources:
            await source.subscribe(client)

    def _changed(self, connected: bool) -> None:
        if not connected:
            return
        self._beat.set()
        for source in self._sources:
            source.returned()

    async def _receive(self, source: str, message: Msg) -> None:
        verdict = self._desk.receive(source, message.data, message.reply)
        if verdict.dropped is not None:
            level = logging.DEBUG if verdict.harmless else logging.WARNING
            self._say_log(level, "dropped a message", verdict.dropped)
        if self._desk.busy:
            self._free.clear()
            self._wake.set()
        await self._tell(verdict.done, b"+ACK")

    def _say_log(self, level: int, event: str, reason: str) -> None:
        fields = {"event": event, "silo": self._name, "reason": reason}
        _log.log(level, "%s %s: %s", self._name, event, reason, extra=fields)

    async def _tell(self, deliveries: tuple[str, ...], word: bytes) -> None:
        """Tell the broker what becomes of deliveries; if it cannot hear, they come again and are known."""
        try:
            if deliveries and self._link.up:
                client = await self._link.client()
                for delivery in deliveries:
                    await client.publish(delivery, word)
        except RETRY as error:
            _log.debug("not told: %s", type(error).__name__)

    async def _holds(self) -> None:
        while True:
            await asyncio.sleep(HOLD_S)
            await self._tell(self._desk.deliveries, b"+WPI")

    async def _beats(self) -> None:
        while True:
            try:
                await self._say("ready")
            except RETRY as error:
                _log.debug("no heartbeat: %s", type(error).__name__)
                await asyncio.sleep(0.2)
                continue
            with suppress(TimeoutError):
                await asyncio.wait_for(self._beat.wait(), heartbeat.EVERY_S)
            self._beat.clear()

    async def _say(self, state: Literal["ready", "leaving"]) -> None:
        client = await self._link.client()
        now = self._memory.now
        self._count += 1
        said = Heartbeat(
            self._consortium, self._name, self._boot, self._count, state, self._desk.working, now.sequence, now.replied
        )
        await client.publish(heartbeat_subject(self._name), heartbeat.seal(self._identity, said))
