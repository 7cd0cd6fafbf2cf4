"""Sandboxes that several jobs of one process share: loading torch takes seconds, and what is shared has never run a module."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from privacy.sandbox import Limits, Sandbox

TASKS = "privacy.coded.tasks"
LIMITS = Limits(call_seconds=300.0)
"""The same for every plan, so that none can be told by them."""

Key = tuple[tuple[str, ...], bool]
_lock = threading.Lock()
_open: dict[Key, tuple[Sandbox, int]] = {}


def key_of(hidden: Sequence[Path], *, tell: bool) -> Key:
    """Jobs that hide the same folders and tell as much may share."""
    return tuple(sorted(str(path) for path in hidden)), tell


def borrow(key: Key) -> Sandbox:
    """The sandbox of `key`, to be given back once. Raises CodeError where this machine cannot have one."""
    with _lock:
        sandbox, users = _open.get(key) or (Sandbox(TASKS, LIMITS, [Path(path) for path in key[0]], tell=key[1]), 0)
        _open[key] = (sandbox, users + 1)
        return sandbox


def give_back(key: Key) -> None:
    """The last who gives it back ends it."""
    with _lock:
        sandbox, users = _open.pop(key)
        if users > 1:
            _open[key] = (sandbox, users - 1)
            return
    sandbox.close()
