"""A whole federation in one process: no server, no port, the same seam.

Silos answer one after the other in the order of the roster, so that a run is reproducible bit for bit and each has all
cores. Each has a worker thread of its own: one that hangs is reported as timed out and the round goes on without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout

from protocol.transport.base import Failure, Handler, check_roster


class InProcessTransport:
    """Calls each silo's handler in this process."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = dict(handlers)
        self._workers = {silo: ThreadPoolExecutor(1, thread_name_prefix=f"silo-{silo}") for silo in handlers}
        self._running: dict[str, Future[bytes]] = {}

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
        before = self._running.get(silo)
        if before is not None and not before.done():
            return Failure("busy", "still at work on an earlier request whose deadline has passed")
        future = self._workers[silo].submit(self._handlers[silo], request)
        self._running[silo] = future
        try:
            return future.result(timeout=deadline_s)
        except FutureTimeout:
            return Failure("timeout", f"no reply within {deadline_s:g} s")
        except Exception as error:  # a handler raises nothing; if it does, the round must still go on
            return Failure("crashed", f"{type(error).__name__}")
        finally:
            if future.done():
                self._running.pop(silo, None)

    def close(self) -> None:
        """Let the worker threads go; a hanging one is abandoned."""
        for worker in self._workers.values():
            worker.shutdown(wait=False, cancel_futures=True)
