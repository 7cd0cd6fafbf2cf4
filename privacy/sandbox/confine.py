"""Shutting a process in: namespaces, Landlock, seccomp, limits."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from collections.abc import Sequence
from pathlib import Path

from privacy.sandbox.limits import Limits

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class ConfinementError(Exception):
    """This process cannot be shut in; the text says what is missing."""


def leave_namespaces() -> None:
    """Leave the parent's users, network and IPC where the kernel lets everybody do so; the rest does not rely on it."""


def nursery(readable: Sequence[str], hidden: Sequence[str]) -> None:
    """Shut this process in; what it forks is in as well."""


def fork(channel: int, limits: Limits, nursery: int) -> int:
    """Shut this fork of process `nursery` in further. Returns the one descriptor it has left."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != nursery:
        os._exit(0)
    os.dup2(channel, 3, inheritable=False)
    os.closerange(4, 65536)
    here = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (here + limits.memory_bytes,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_seconds,) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return 3
