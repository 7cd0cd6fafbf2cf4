"""An aggregator and silos over a real broker, in one process: each silo serves its handler on a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protocol.identity import Identity
from protocol.transport.base import Handler
from protocol.transport.nats import NatsInbox, NatsTransport, Sizes
from tests.protocol.nats_server import Server, new_identity

SMALL = Sizes(broadcast=1 << 28, down=1 << 28, up=1 << 28, redeliver_s=5.0)
CONSORTIUM = "test"


class Federation:
    """Made from handlers; close it."""

    def __init__(
        self, server: Server, folder: Path, handlers: Mapping[str, Handler], sizes: Sizes = SMALL, **options: Any
    ) -> None:
        self._server, self._folder, self._sizes, self._options = server, folder, sizes, options
        self.keys = {name: self.identity(name) for name in (*handlers, "aggregator")}
        self.inboxes: dict[str, NatsInbox] = {}
        self._threads: dict[str, threading.Thread] = {}
        self.transport = self.new_transport(tuple(handlers))
        for name, handler in handlers.items():
            self.serve(name, handler)

    def identity(self, name: str) -> Identity:
        return new_identity(self._folder, name)

    def new_transport(self, silos: tuple[str, ...]) -> NatsTransport:
        return NatsTransport(
            self._server.endpoint("aggregator"),
            self.identity("aggregator"),
            {name: self.identity(name).public_key for name in silos},
            consortium=CONSORTIUM,
            sizes=self._sizes,
            **self._options,
        )

    def new_inbox(self, name: str) -> NatsInbox:
        return NatsInbox(
            self._server.endpoint(name),
            self.identity(name),
            name,
            self.identity("aggregator").public_key,
            consortium=CONSORTIUM,
            memory=self._folder / f"{name}.inbox.json",
        )

    def serve(self, name: str, handler: Handler) -> NatsInbox:
        inbox = self.inboxes[name] = self.new_inbox(name)
        thread = self._threads[name] = threading.Thread(target=inbox.serve, args=(handler,), name=name)
        thread.start()
        return inbox

    def stop(self, name: str) -> None:
        self.inboxes.pop(name).stop()
        thread = self._threads.pop(name)
        thread.join(40)
        assert not thread.is_alive(), f"{name} does not stop"

    def close(self) -> None:
        for inbox in self.inboxes.values():
            inbox.stop()
        for name in tuple(self.inboxes):
            self.stop(name)
        self.transport.close()
