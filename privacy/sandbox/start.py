"""The parent's end of a nursery: starts it, orders forks, notices its end."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from privacy.sandbox import control
from privacy.sandbox.limits import Limits, fitting
from privacy.sandbox.readable import folder, readable_paths
from protocol.errors import CodeError

_ORDER_SECONDS = 60.0
_MAIN = """\
import sys
root = sys.argv[2]
if root not in sys.path:  # fedward is not installed, or from elsewhere than it runs from
    sys.path.insert(0, root)
from privacy.sandbox.nursery import main
main(int(sys.argv[1]))
"""
# Nothing of the parent's environment. One thread: forks have no more. No GPU: a fork cannot use CUDA that its parent began.
_ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "",
    "HOME": "/nonexistent",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "LC_ALL": "C.UTF-8",
    "MKL_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OMP_THREAD_LIMIT": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PATH": "/usr/bin:/bin",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",  # the order of a set in the module is the same in every nursery
    # Asked for at an optimiser's first step, and content with any folder that exists in one that may be read.
    "TORCHINDUCTOR_CACHE_DIR": str(Path(sysconfig.get_path("stdlib"), "json")),
    "TZ": "UTC",
}


class Nursery:
    """A running nursery. Not for two threads at once."""

    def __init__(self, tasks: str, limits: Limits, hidden: Sequence[Path], tell: bool) -> None:
        roots = [str(folder(name).parent) for name in (tasks.partition(".")[0], "privacy")]
        readable = readable_paths(hidden, tasks)
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-s", "-P", "-c", _MAIN, str(theirs.fileno()), roots[1]]
            self._process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                env=_ENVIRONMENT,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is the parent's
            )
        try:
            start = control.Start(tasks, roots, readable, [str(path) for path in hidden], fitting(limits), tell, os.getpid())
            self._ask(start, limits.start_seconds)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid

    @property
    def lives(self) -> bool:
        """Whether it can still be asked."""
        return self._link.fileno() != -1 and self._process.poll() is None

    def fork(self, channel: socket.socket) -> int:
        """The number of a new fork that serves on `channel`. Raises CodeError."""
        number = self._ask(control.Order(), _ORDER_SECONDS, channel.fileno()).fork
        if number is None:
            raise CodeError("the process that plans' code is run from answered something else than it was asked.")
        return number

    def end(self, fork: int) -> None:
        """End fork number `fork`, as it is. Nothing is left of it afterwards."""
        with contextlib.suppress(CodeError):  # a nursery that has ended took its forks along
            self._ask(control.Order(end=fork), _ORDER_SECONDS)

    def close(self) -> None:
        """End it and all its forks."""
        self._link.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ask(self, packet: control.Start | control.Order, seconds: float, channel: int | None = None) -> control.Done:
        self._link.settimeout(seconds)
        try:
            control.send(self._link, packet, channel)
            done, _ = control.receive(self._link, control.Done)
        except (EOFError, OSError) as error:
            self._link.close()
            self._process.kill()
            what = f"did not answer in {seconds:g} s" if isinstance(error, TimeoutError) else "has ended"
            raise CodeError(
                f"the process that plans' code is run from {what}. Try again; the next call starts another."
            ) from error
        if done.refused is not None:
            raise CodeError(f"the plan's code cannot be run on this machine: {done.refused}")
        return done
