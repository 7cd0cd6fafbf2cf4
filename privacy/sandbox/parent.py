"""The sandbox as the node uses it: one nursery, and a fork of it for whoever needs one."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from privacy.sandbox.available import available
from privacy.sandbox.fresh import Fresh
from privacy.sandbox.limits import Limits
from privacy.sandbox.start import Nursery
from protocol.errors import CodeError


class Sandbox:
    """Processes apart in which the tasks of one trusted module run, with the plan's module or without. For any thread.

    `tasks` is the dotted name of a module with TASKS, a mapping from names to functions (wire.Task). `hidden` are the folders
    that must not be readable inside: ledgers, keys, stores, state. `tell` lets errors say what the plan's code said; never
    where there are patients. The nursery starts at the first fork and takes seconds; one that ended is replaced.
    """

    def __init__(self, tasks: str, limits: Limits | None = None, hidden: Sequence[Path] = (), *, tell: bool = False) -> None:
        if reason := available():
            raise CodeError(reason)
        self._tasks, self._limits, self._hidden, self._tell = tasks, limits or Limits(), tuple(hidden), tell
        self._lock = threading.Lock()
        self._nursery: Nursery | None = None
        self._closed = False
        self._owner = os.getpid()

    def fresh(self) -> Fresh:
        """A new fork, to be closed by who asked for it. Raises CodeError if the machine cannot make one."""
        mine, theirs = socket.socketpair()
        try:
            with theirs, self._lock:
                nursery = self._started()
                number = nursery.fork(theirs)
        except BaseException:
            mine.close()
            raise
        return Fresh(mine, self._limits, self._tell, lambda: self._end(nursery, number))

    def _started(self) -> Nursery:
        if self._closed or os.getpid() != self._owner:
            raise CodeError("this sandbox is closed, or of another process; open one of your own.")
        if self._nursery is None or not self._nursery.lives:
            if self._nursery is not None:
                self._nursery.close()
            self._nursery = Nursery(self._tasks, self._limits, self._hidden, self._tell)
        return self._nursery

    def _end(self, nursery: Nursery, number: int) -> None:
        with self._lock:
            if os.getpid() == self._owner and nursery.lives:
                nursery.end(number)

    def close(self) -> None:
        """End the nursery and every fork. Twice is as good as once."""
        with self._lock:
            self._closed = True
            if self._nursery is not None and os.getpid() == self._owner:
                self._nursery.close()
            self._nursery = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
