"""Shutting a process in. What cannot be done is an error, and then nothing runs; user namespaces alone come on top."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from privacy.sandbox import clocks, kernel, landlock, seccomp
from privacy.sandbox.limits import Limits

_OUTSIDE = "/etc/passwd"  # is on every machine and readable by everybody, but not inside


class ConfinementError(Exception):
    """This process cannot be shut in; the text says what is missing."""


def before_loading() -> None:
    """What must be done while there is one thread and nothing is loaded."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(
            "500"
        )  # where memory is short the kernel ends this before the hospital's node
    kernel.leave_namespaces()


def nursery(readable: Sequence[str], hidden: Sequence[str]) -> int:
    """Shut this process in; what it forks is in as well. Returns its address space in bytes. Raises ConfinementError."""
    time.tzset()
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    try:
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        kernel.drop_capabilities()
        clocks.stop()
        landlock.restrict([*readable])
        seccomp.install(seccomp.for_nursery())
    except OSError as error:
        raise ConfinementError(
            f"it cannot be shut in: {error.strerror}. fedward silo preflight says what is missing."
        ) from error
    _try_the_walls(hidden)
    return size


def _try_the_walls(hidden: Sequence[str]) -> None:
    """Raises ConfinementError if a wall that was just built is not there."""
    for path in (_OUTSIDE, *hidden):
        with contextlib.suppress(PermissionError, FileNotFoundError):
            os.close(os.open(path, os.O_RDONLY))
            raise ConfinementError(f"{path} can still be read inside.")
    with contextlib.suppress(PermissionError):
        socket.socket().close()
        raise ConfinementError("the network can still be reached inside.")


def fork(channel: int, limits: Limits, nursery: int, size: int) -> int:
    """Shut this fork of process `nursery`, whose address space was `size`, in further. Returns the one descriptor it has left.

    Raises OSError: then it must end.
    """
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != nursery:
        raise ProcessLookupError
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    mine = os.dup2(channel, 3, inheritable=False) if channel != 3 else 3
    os.closerange(4, 2**20)
    for kind, most in (
        (resource.RLIMIT_AS, size + limits.memory_bytes),
        (resource.RLIMIT_CPU, limits.cpu_seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        resource.setrlimit(kind, (most, most))
    landlock.restrict_signals()
    clocks.forbid()
    seccomp.install(seccomp.for_fork(os.getpid()))
    return mine
