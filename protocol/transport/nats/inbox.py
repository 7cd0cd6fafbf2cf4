"""A silo's side: requests out of its durable inbox, one at a time, each answered once."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

from protocol.errors import MessageError
from protocol.identity import Identity
from protocol.transport.base import Handler
from protocol.transport.nats.bridge import Bridge
from protocol.transport.nats.desk import Task
from protocol.transport.nats.endpoint import Endpoint
from protocol.transport.nats.memory import Memory
from protocol.transport.nats.session import Session
from protocol.transport.nats.subjects import AGGREGATOR, check_name
from protocol.transport.nats.transfer import Parcel, pack

_log = logging.getLogger(__name__)
Kind = Literal["reply", "crash"]
DEATHS = 3
"""A request that was begun so often and never answered is given up: whoever handled it did not live to answer."""
GIVEN_UP = "NodeDiedEachTime"


class NatsInbox:
    """Serves one silo's handler.

    `aggregator_key`: the one public key whose requests are heard. `consortium` must be the aggregator's. `memory`: a small file
    inside the hospital that remembers over restarts what was answered; without it an old request, sent again by a broker that
    lies, could be answered again after a restart. It also remembers what was begun: a request at which the node died `DEATHS`
    times is answered with a crash. Raises TransportError for a name, endpoint or memory that cannot be used.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        identity: Identity,
        name: str,
        aggregator_key: bytes,
        *,
        consortium: str = "",
        memory: Path | None = None,
    ) -> None:
        self.name = check_name(name)
        self._endpoint, self._identity, self._aggregator_key = endpoint, identity, aggregator_key
        self._consortium, self._memory = consortium, Memory(memory)
        self._stopping = threading.Event()
        self._running: tuple[Bridge, Session] | None = None
        endpoint.tls()  # what is wrong with its files is said now, not when the thread has started

    @property
    def connected(self) -> bool:
        """Whether the broker is reached now."""
        running = self._running
        return running is not None and running[1].connected

    def serve(self, handler: Handler) -> None:
        """Answer requests on this thread until `stop`, whatever happens to the broker and the network.

        Raises TransportError when the broker has refused this silo for a minute: it was removed, or its kit is too old.
        """
        bridge = Bridge(f"nats-{self.name}")
        session: Session | None = None
        try:
            session = bridge.call(self._start())
            self._running = (bridge, session)
            if self._stopping.is_set():
                session.stop()
            while (task := bridge.call(session.next())) is not None:
                parcel = self._answer(handler, task)
                task = replace(task, data=b"")  # hundreds of megabytes, and nobody needs them while the reply leaves
                bridge.call(session.answer(task, parcel))
                del task, parcel
        finally:
            self._running = None
            with suppress(OSError):
                self._memory.lived()
            if session is not None:
                bridge.call(session.leave())
            bridge.close()

    def stop(self) -> None:
        """End `serve` after the request in hand, or at once if there is none. From any thread, or from a signal's handler."""
        self._stopping.set()
        running = self._running
        if running is not None:
            bridge, session = running
            try:
                bridge.loop.call_soon_threadsafe(session.stop)
            except RuntimeError:
                _log.debug("%s had stopped already", self.name)

    async def _start(self) -> Session:
        session = Session(self._endpoint, self._identity, self.name, self._aggregator_key, self._consortium, self._memory)
        await session.start()
        return session

    def _answer(self, handler: Handler, task: Task) -> Parcel:
        kind: Kind = "reply"
        if self._died_at(task.transfer.id):
            return self._pack(task, "crash", GIVEN_UP.encode())
        try:
            reply = handler(task.data)
        except Exception as error:  # a handler raises nothing; if it does, only the kind of it may leave
            _log.error("%s failed at a request: %s", self.name, type(error).__name__)
            _log.debug("traceback", exc_info=True)
            kind, reply = "crash", type(error).__name__.encode()
        try:
            return self._pack(task, kind, reply)
        except MessageError:
            return self._pack(task, "crash", b"MessageError")

    def _died_at(self, request: str) -> bool:
        """Whether this node was ended by this request too often to try it again."""
        try:
            before = self._memory.begin(request)
        except OSError as error:
            what = "the inbox's memory cannot be written"
            _log.error("%s: %s", self.name, what, extra={"event": what, "silo": self.name, "reason": error.strerror or ""})
            return False
        if before < DEATHS:
            return False
        what = "a request was given up"
        reason = f"the node died {before} times at it, for want of memory perhaps: look at the machine's log (dmesg)"
        _log.error("%s: %s: %s", self.name, what, reason, extra={"event": what, "silo": self.name, "reason": reason})
        return True

    def _pack(self, task: Task, kind: Kind, reply: bytes) -> Parcel:
        return pack(
            reply,
            consortium=self._consortium,
            kind=kind,
            sender=self.name,
            receivers={AGGREGATOR: task.sequence},
            answers=task.transfer.reference,
        )
