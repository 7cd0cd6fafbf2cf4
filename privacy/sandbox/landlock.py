"""Landlock: which files a process may read, and nothing else of files, TCP, signals and abstract sockets.

https://docs.kernel.org/userspace-api/landlock.html. Every right that the running kernel knows is handled, so what is not
granted is denied. Landlock has no say over stat(), chmod() and the like; seccomp has over the latter.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path

from privacy.sandbox import kernel

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # the same numbers everywhere
_VERSION = 1  # flag of _CREATE: say the version
_PATH_BENEATH = 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
# Rights over files that each version added, as the highest bit known: truncate in 3, ioctl of devices in 5.
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_TCP = 0b11  # bind and connect, version 4
_SCOPES = 0b11  # abstract unix sockets and signals, version 6


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def version() -> int:
    """The kernel's version of Landlock; 0 if there is none, or if it is switched off or denied."""
    try:
        return kernel.syscall(_CREATE, None, 0, _VERSION)
    except OSError:
        return 0


def restrict(readable: Sequence[str]) -> None:
    """From now on this thread and what it forks read `readable` (files, or folders with all in them) and write nothing.

    What does not exist is left out. no_new_privs must be set. Raises OSError, where there is no Landlock as well.
    """
    known = version()
    files = (1 << _FILE_RIGHTS[min(known, 5)]) - 1 if known else 0
    _lay(_Ruleset(files, _TCP if known >= 4 else 0, _SCOPES if known >= 6 else 0), readable)


def restrict_signals() -> None:
    """From now on this process signals those of its own walls only, not the nursery; from version 6 on. Raises OSError."""
    if version() >= 6:
        _lay(_Ruleset(0, 0, _SCOPES), ())


def _lay(rules: _Ruleset, readable: Sequence[str]) -> None:
    size = 24 if rules.scoped else 16 if rules.net else 8
    ruleset = kernel.syscall(_CREATE, ctypes.byref(rules), size, 0)
    try:
        for path in readable:
            _allow(ruleset, path)
        kernel.syscall(_RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str) -> None:
    try:
        found = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        rights = _READ_FILE | _READ_DIR if Path(path).is_dir() else _READ_FILE
        kernel.syscall(_ADD, ruleset, _PATH_BENEATH, ctypes.byref(_PathBeneath(rights, found)), 0)
    finally:
        os.close(found)
