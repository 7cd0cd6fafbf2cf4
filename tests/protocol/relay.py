"""A TCP relay that can be cut, and an HTTP proxy that opens tunnels, on loopback."""

from __future__ import annotations

import contextlib
import socket
import threading


class Relay:
    """Forwards to `port`; `hole` swallows everything without a word, `reset` cuts all connections, `heal` ends the hole.

    With `proxy` it first expects CONNECT and goes where it is told; `tunnels` lists where.
    """

    def __init__(self, port: int, *, proxy: bool = False) -> None:
        self._target, self._proxy = port, proxy
        self._open = threading.Event()
        self._open.set()
        self._sockets: list[socket.socket] = []
        self.tunnels: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def hole(self) -> None:
        self._open.clear()

    def heal(self) -> None:
        self._open.set()

    def reset(self) -> None:
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()
        self.heal()
        self.reset()
        for one in self._sockets:
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                here, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(here,), daemon=True).start()

    def _connect(self, here: socket.socket) -> None:
        self._sockets.append(here)
        if self._proxy:
            head = b""
            while b"\r\n\r\n" not in head:
                head += here.recv(4096)
            self.tunnels.append(head.split()[1].decode())
            here.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        self._open.wait()
        try:
            there = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            here.close()
            return
        self._sockets.append(there)
        for a, b in ((here, there), (there, here)):
            threading.Thread(target=self._pump, args=(a, b), daemon=True).start()

    def _pump(self, a: socket.socket, b: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := a.recv(1 << 16):
                self._open.wait()
                b.sendall(data)
        for one in (a, b):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
