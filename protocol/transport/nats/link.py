"""The connection to the broker: kept open for ever, opened again when it ends, and never trusted."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, cast

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from protocol.errors import TransportError
from protocol.transport.nats.client import CONNECT_TIMEOUT_S, BrokerClient
from protocol.transport.nats.endpoint import Endpoint
from protocol.transport.nats.signed import MAX_HEADER, Sealed
from protocol.transport.nats.transfer import CHUNK_BYTES

_log = logging.getLogger(__name__)
_PAUSE_S = 1.0
_TELL_AGAIN_S = 60.0
_REFUSED_FOR_S = 60.0
"""A broker may refuse for a moment while its configuration is reloaded; after this a silo was removed, and must stop."""

Opened = Callable[[Client], Awaitable[None]]

RETRY = (OSError, nats.errors.Error, asyncio.TimeoutError)
"""What a call may raise that is worth repeating: the connection, or the other side, was away."""


class Link:
    """One user's connection. `opened` subscribes on each new client; `changed` is told whether it is connected.

    Everything here runs on the bridge's loop. Raises TransportError where `endpoint` cannot be used at all.
    """

    def __init__(self, endpoint: Endpoint, opened: Opened, changed: Callable[[bool], None]) -> None:
        self._endpoint, self._opened, self._changed = endpoint, opened, changed
        self._tls = endpoint.tls()  # what is wrong with the files is said now
        self._native = not endpoint.url.startswith("wss://")
        self._client: Client | None = None
        self._up, self._cut, self._closed = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._fatal: TransportError | None = None
        self._refused_since: float | None = None
        self._told, self._told_at = ("", ""), 0.0

    async def keep(self) -> None:
        """Connect and stay connected until cancelled."""
        while self._fatal is None:
            client = BrokerClient(self._endpoint.proxy, self._endpoint.tls)
            self._closed.clear()
            try:
                await self._connect(client)
                self._refused_since = None
                if client.max_payload < CHUNK_BYTES + MAX_HEADER + 1024:
                    self._give_up(f"the broker takes messages of {client.max_payload} bytes only; set max_payload: 8MB there.")
                    continue
                await self._opened(client)
                self._client = client
                self._back()
                await self._closed.wait()
            except RETRY as error:
                await self._on_error(error)
            finally:
                self._gone()
                await client.close()
            await asyncio.sleep(_PAUSE_S)

    @property
    def up(self) -> bool:
        """Whether it is connected now."""
        return self._client is not None and self._up.is_set()

    async def client(self) -> Client:
        """The connected client; waits for it. Raises TransportError once the broker has refused this user for good."""
        await self._up.wait()
        if self._fatal is not None:
            raise TransportError(str(self._fatal))
        if self._client is None:
            raise ConnectionError("not connected")
        return self._client

    async def request(self, subject: str, body: bytes | Sealed, timeout_s: float, headers: dict[str, str] | None = None) -> Msg:
        """One request and its answer. Raises one of RETRY, at once if the connection is cut meanwhile."""
        client = await self.client()
        call = asyncio.ensure_future(client.request(subject, cast(bytes, body), timeout=timeout_s, headers=headers))
        cut = asyncio.ensure_future(self._cut.wait())
        try:
            done, _ = await asyncio.wait({call, cut}, return_when=asyncio.FIRST_COMPLETED)
            if call in done:
                return call.result()
            raise ConnectionError("cut off while waiting for an answer")
        finally:
            call.cancel()
            cut.cancel()
            await asyncio.gather(call, cut, return_exceptions=True)

    async def api(self, subject: str, body: dict[str, Any], timeout_s: float = 10.0) -> dict[str, Any]:
        """One call of the JetStream API; its answer may hold an `error`. Raises one of RETRY."""
        answer = await self.request(subject, json.dumps(body).encode(), timeout_s)
        try:
            value = json.loads(answer.data)
        except ValueError as error:
            raise ConnectionError("the broker's answer is not JSON") from error
        return value if isinstance(value, dict) else {}

    async def _connect(self, client: Client) -> None:
        endpoint = self._endpoint
        options: dict[str, Any] = {}
        if self._tls is not None:
            options |= {"tls": self._tls, "tls_handshake_first": endpoint.tls_handshake_first and self._native}
        await client.connect(
            servers=[endpoint.url],
            name=endpoint.user,
            error_cb=self._on_error,
            disconnected_cb=self._on_disconnected,
            reconnected_cb=self._on_reconnected,
            closed_cb=self._on_closed,
            connect_timeout=CONNECT_TIMEOUT_S,
            reconnect_time_wait=1,
            max_reconnect_attempts=-1,  # for ever
            ping_interval=5,
            max_outstanding_pings=2,  # a peer that is gone is noticed within 15 s
            inbox_prefix=endpoint.inbox,
            pending_size=32 << 20,
            flush_timeout=60,
            **options,
        )

    def _back(self) -> None:
        self._told = ("", "")
        self._cut.clear()
        self._up.set()
        self._changed(True)

    def _gone(self) -> None:
        self._up.clear()
        self._cut.set()
        self._client = None
        self._changed(False)
        if self._fatal is not None:
            self._up.set()  # whoever waits for a client learns why there is none

    def _give_up(self, reason: str) -> None:
        self._fatal = TransportError(reason)
        self._up.set()
        self._closed.set()

    async def _on_disconnected(self) -> None:
        self._up.clear()
        self._cut.set()
        self._changed(False)

    async def _on_reconnected(self) -> None:
        self._refused_since = None
        self._back()

    async def _on_closed(self) -> None:
        self._closed.set()

    async def _on_error(self, error: Exception) -> None:
        words = str(error).lower()
        self._tell(type(error).__name__, _why(error))
        if "permissions violation" in words:
            what = "the broker forbade something; its configuration does not fit this release"
            _log.error(what, extra={"event": what})
        if "authorization violation" not in words and "authentication" not in words:
            return
        now = asyncio.get_running_loop().time()
        self._refused_since = self._refused_since or now
        if now - self._refused_since > _REFUSED_FOR_S:
            self._give_up("the broker refuses this user: ask the coordinator whether it was removed, or install a new kit.")

    def _tell(self, kind: str, why: str) -> None:
        """Into the log, once a minute while it stays the same: an attempt a second may fail for days."""
        now = asyncio.get_running_loop().time()
        if (kind, why) == self._told and now - self._told_at < _TELL_AGAIN_S:
            return
        self._told, self._told_at = (kind, why), now
        reason = {"reason": why} if why else {}
        _log.warning("broker: %s %s", kind, why, extra={"event": "broker", "error": kind} | reason)


def _why(error: Exception) -> str:
    """What can be said of a connection that failed, in OpenSSL's words or in ours; of most errors nothing."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message  # another CA, a wrong clock
    if "empty response" in str(error):  # a certificate that is not pinned: in TLS 1.3 only the silence after it tells
        return "it hung up after TLS; was this party removed, or is a newer kit to be installed?"
    return ""
