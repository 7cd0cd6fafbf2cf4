"""Sandboxes that all jobs and hospitals of one process share: loading torch takes seconds and memory.

What is shared has never run a module nor seen a patient.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from privacy.sandbox import Limits, Sandbox
from privacy.sandbox.readable import readable_paths

TASKS = "privacy.coded.tasks"
LIMITS = Limits(memory_bytes=8 << 30, cpu_seconds=604_800, call_seconds=300.0)
"""The same for every plan: nothing of a patient is in them. A process may train for as long as a round lasts, a week at most.

What bounds a module is the time of each call, a batch or a chunk of images, and of each patient's turn.
"""

_lock = threading.Lock()
_open: dict[bool, tuple[Sandbox, int]] = {}


def borrow(hidden: Sequence[Path] = (), *, tell: bool) -> Sandbox:
    """The sandbox of all that `tell` as much, to be given back once. What is readable inside is the same for all.

    Raises CodeError if one of `hidden` would be, or where this machine cannot keep a module apart.
    """
    readable_paths(hidden, TASKS)
    with _lock:
        sandbox, users = _open.get(tell) or (Sandbox(TASKS, LIMITS, hidden, tell=tell), 0)
        _open[tell] = (sandbox, users + 1)
        return sandbox


def give_back(*, tell: bool) -> None:
    """The last who gives it back ends it."""
    with _lock:
        sandbox, users = _open.pop(tell)
        if users > 1:
            _open[tell] = (sandbox, users - 1)
            return
    sandbox.close()
