"""One daemon thread with an event loop of its own, for callers that block. Training beside it does not disturb it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from protocol.errors import TransportError

T = TypeVar("T")


class Bridge:
    """Runs coroutines for other threads. Never use it from its own thread: that would wait for itself."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`; it is cancelled if the caller is interrupted."""
        future = self.spawn(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # else it would go on unseen after Ctrl-C
            raise

    def spawn(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start `work` and return at once. Raises TransportError after `close`."""
        if not self._thread.is_alive():
            work.close()
            raise TransportError("the connection to the broker was closed; open a new one.")
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def close(self) -> None:
        """Cancel what still runs and end the thread."""
        if not self._thread.is_alive():
            return
        asyncio.run_coroutine_threadsafe(_cancel_all(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


async def _cancel_all() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()
