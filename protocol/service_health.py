"""/healthz, /readyz and /metrics on this machine's loopback, for whoever watches a service. They change nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

from protocol.errors import InputError

Readiness = Callable[[], Mapping[str, bool]]


class HealthPage:
    """Answers until `close`. Healthy: the process answers. Ready: each of `readiness` holds now.

    A request that names another host is not answered: a web page could point a name of its own at this machine.
    """

    def __init__(self, port: int, readiness: Readiness, metrics: Callable[[], bytes]) -> None:
        """Raises InputError if the port is taken."""

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                local = urlsplit(f"//{self.headers.get('Host', '')}").hostname in ("127.0.0.1", "localhost")
                status, kind, body = _answer(self.path if local else "", readiness, metrics)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: a probe every few seconds is no event."""

        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        except OSError as error:
            raise InputError(f"health port {port} cannot be used ({error.strerror}); choose another, or 0 for none.") from error
        self._server.daemon_threads = True
        Thread(target=self._server.serve_forever, name="health", daemon=True).start()

    @property
    def port(self) -> int:
        """The port it answers on."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()


def _answer(path: str, readiness: Readiness, metrics: Callable[[], bytes]) -> tuple[int, str, bytes]:
    if path == "/healthz":
        return 200, "text/plain; charset=utf-8", b"ok\n"
    if path == "/metrics":
        return 200, "text/plain; version=0.0.4; charset=utf-8", metrics()
    if path == "/readyz":
        try:
            found = dict(readiness())
        except Exception:  # a check that breaks is a check that does not hold
            found = {"checks": False}
        ready = all(found.values())
        return (200 if ready else 503), "application/json", json.dumps({"ready": ready, **found}).encode()
    return 404, "text/plain; charset=utf-8", b"/healthz, /readyz, /metrics\n"
