"""A whole federation in one process: no server, no port, the same seam.

Silos answer one after the other in the order of the roster, so that a run is reproducible bit for bit and each has all
cores. The work happens on one thread beside the caller's; if a silo hangs, that thread is left behind (it is a daemon), the
silo is reported as timed out and the others go on with a fresh thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from queue import SimpleQueue
from threading import Event, Thread

from protocol.transport.base import Failure, Handler, check_roster


class _Call:
    """One request on its way through a worker thread."""

    def __init__(self, handler: Handler, request: bytes) -> None:
        self._handler, self._request = handler, request
        self._reply: bytes | Failure | None = None
        self._done = Event()

    def run(self) -> None:
        try:
            self._reply = self._handler(self._request)
        except BaseException as error:  # a handler raises nothing; if it does, the round must still go on
            self._reply = Failure("crashed", type(error).__name__)
        self._done.set()

    def wait(self, seconds: float) -> bytes | Failure | None:
        return self._reply if self._done.wait(seconds) else None

    @property
    def running(self) -> bool:
        return not self._done.is_set()


class _Worker:
    """A daemon thread that runs one call after the other; None ends it."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        Thread(target=self._loop, name="in-process-silos", daemon=True).start()

    def submit(self, call: _Call | None) -> None:
        self._calls.put(call)

    def _loop(self) -> None:
        while (call := self._calls.get()) is not None:
            call.run()
            del call  # a reply may be hundreds of megabytes: do not keep it until the next call


class InProcessTransport:
    """Calls each silo's handler in this process."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = dict(handlers)
        self._worker = _Worker()
        self._late: dict[str, _Call] = {}

    @property
    def silos(self) -> tuple[str, ...]:
        """The silos of the roster, in the order given."""
        return tuple(self._handlers)

    def exchange(self, requests: Mapping[str, bytes], deadline_s: float) -> Iterator[tuple[str, bytes | Failure]]:
        """One silo after the other; see Transport."""
        check_roster(requests, self.silos)
        for silo in self.silos:
            if silo in requests:
                yield silo, self._ask(silo, requests[silo], deadline_s)

    def _ask(self, silo: str, request: bytes, deadline_s: float) -> bytes | Failure:
        late = self._late.pop(silo, None)
        if late is not None and late.running:
            self._late[silo] = late
            return Failure("busy", "still at work on an earlier request whose deadline has passed")
        call = _Call(self._handlers[silo], request)
        self._worker.submit(call)
        reply = call.wait(deadline_s)
        if reply is not None:
            return reply
        self._worker.submit(None)  # ends the old thread once its late call returns
        self._worker = _Worker()
        self._late[silo] = call
        return Failure("timeout", f"no reply within {deadline_s:g} s")

    def close(self) -> None:
        """Let the worker thread end after what it is doing."""
        self._worker.submit(None)
