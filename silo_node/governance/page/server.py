"""The officer's page as a server on the loopback address: one officer, one browser, as long as the command runs.

Whoever opens the page needs the secret in its address, which the command prints. Every change needs that secret again in the
form, from a page that was itself asked for at the loopback address: another page in the same browser can neither read nor post.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from urllib.parse import parse_qs, urlencode, urlsplit

from protocol.errors import FedwardError, InputError
from protocol.governance.decisions import Verdict
from protocol.identity import Identity
from silo_node.governance.office import Office
from silo_node.governance.page.views import error_page, list_page, plan_page

_MAX_FORM = 64 << 10
_PATIENCE_S = 10.0
"""How long a browser may take to say what it wants. Others do not wait for it: another page can open connections, too."""
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_VERDICTS: dict[str, Verdict] = {"approve": "approve", "reject": "reject", "withdraw": "withdraw"}


class ReviewPage:
    """`officer` decides with `key`; `own` is the hospital's identity; `spent` says in words what patients have paid.

    Raises OSError if the port is taken.
    """

    def __init__(
        self, office: Office, hospital: str, officer: str, key: Identity, own: Identity, spent: Callable[[], str], port: int = 0
    ) -> None:
        self._office, self._hospital, self._officer = office, hospital, officer
        self._key, self._own, self._spent = key, own, spent
        self._token, self._said = secrets.token_urlsafe(24), ""
        self._one_at_a_time = Lock()
        page = self

        class Handler(BaseHTTPRequestHandler):
            timeout = _PATIENCE_S

            def do_GET(self) -> None:
                page._respond(self, None)

            def do_POST(self) -> None:
                page._respond(self, self.headers.get("Content-Length") or "")

            def log_message(self, *_: object) -> None:
                """Addresses hold the secret."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)

    @property
    def address(self) -> str:
        """What the officer opens; it holds the secret."""
        return f"http://127.0.0.1:{self._server.server_port}/{self._token}/"

    def serve(self) -> None:
        """Answer until `close`, or KeyboardInterrupt."""
        self._server.serve_forever(poll_interval=0.2)

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()

    # ---------------------------------------------------------------------------------------------------------- answering

    def _respond(self, request: BaseHTTPRequestHandler, length: str | None) -> None:
        parts = urlsplit(request.path)
        _, token, *rest = (*parts.path.split("/", 2), "", "")[:3]
        if not self._ours(request) or not hmac.compare_digest(token.encode(), self._token.encode()):
            self._send(request, 403, error_page("Open the address that the command printed.", self._hospital))
            return
        try:
            form = None if length is None else self._form(request, length)
            with self._one_at_a_time:
                if form is None:
                    self._show(request, rest[0], dict(parse_qs(parts.query)))
                else:
                    self._change(request, rest[0], form)
        except FedwardError as error:
            self._send(request, 400, error_page(str(error), self._hospital))

    def _ours(self, request: BaseHTTPRequestHandler) -> bool:
        """Whether the browser asked for this very address, from no page of somebody else's."""
        here = f"127.0.0.1:{self._server.server_port}"
        origin = request.headers.get("Origin")
        return request.headers.get("Host") == here and origin in (None, "null", f"http://{here}")

    def _show(self, request: BaseHTTPRequestHandler, name: str, query: dict[str, list[str]]) -> None:
        who = (self._officer, self._hospital, self._token)
        if name == "":
            said, self._said = self._said, ""
            self._send(request, 200, list_page(self._office, *who, said))
        elif name == "plan":
            self._send(request, 200, plan_page(self._office, query.get("digest", [""])[0], *who, self._spent()))
        else:
            self._send(request, 404, error_page("There is no such page.", self._hospital))

    def _change(self, request: BaseHTTPRequestHandler, name: str, form: dict[str, str]) -> None:
        if not hmac.compare_digest(form.get("token", "").encode(), self._token.encode()):
            raise InputError("the form is not of this page; load it again.")
        if name == "sync":
            problems = self._office.sync(self._own)
            self._said = "; ".join(problems) or "Looked at the share."
            self._go(request, "./")
        elif name == "decide" and (verdict := _VERDICTS.get(form.get("verdict", ""))):
            found = self._office.find(form.get("digest", ""))
            if verdict != "approve" and not form.get("reason", "").strip():
                raise InputError("give a reason: the researcher reads it.")
            said = {"reason": form.get("reason", "").strip(), "code": form.get("code", "")}
            standing = self._office.decide(found, verdict, self._officer, self._key, **said)
            self._tell()
            self._said = f"{found.handed_over.plan.name}: {standing.status}. {self._said}".strip()
            self._go(request, "plan?" + urlencode({"digest": found.digest}))
        else:
            raise InputError("that is nothing an officer can do here.")

    def _tell(self) -> None:
        """Let the researcher know. The decision holds here whether or not that works."""
        try:
            self._office.sync(self._own)
        except FedwardError as error:
            self._said = f"The researcher was not told yet: {error}"
        except Exception as error:  # whatever PySyft raises at what lies on the share
            self._said = f"The researcher was not told yet ({type(error).__name__})."

    def _form(self, request: BaseHTTPRequestHandler, length: str) -> dict[str, str]:
        if not (length.isascii() and length.isdigit()) or int(length[:9]) > _MAX_FORM:
            raise InputError("the form is too large.")
        data = request.rfile.read(int(length)).decode("utf-8", "replace")
        return {key: values[0] for key, values in parse_qs(data).items()}

    def _go(self, request: BaseHTTPRequestHandler, place: str) -> None:
        request.send_response(303)
        request.send_header("Location", place)
        request.send_header("Content-Length", "0")
        request.end_headers()

    def _send(self, request: BaseHTTPRequestHandler, status: int, page: str) -> None:
        data = page.encode()
        request.send_response(status)
        for name, value in {**_HEADERS, "Content-Type": "text/html; charset=utf-8", "Content-Length": str(len(data))}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(data)
