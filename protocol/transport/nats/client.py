"""nats-py with what it lacks: a proxy, large messages without copies, and an end to connections whose other side is gone."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, cast
from urllib.parse import ParseResult, urlparse

from nats.aio.client import Client
from nats.aio.client import Srv as Server
from nats.aio.transport import Transport, WebSocketTransport
from nats.protocol.parser import Parser as TextParser

from protocol.transport.nats.shelf import Shelf
from protocol.transport.nats.signed import Sealed
from protocol.transport.nats.wire import Large, Wire

READ_BYTES = 1 << 20
CONNECT_TIMEOUT_S = 10
_GOODBYE_S = 1.0
_CHUNKS = 4  # that are being read at a time, each way
_PORT = 4222  # NATS's own


class Tcp(Transport):
    """A TCP connection, through an HTTP proxy if one is named."""

    def __init__(self, proxy: str | None, shelf: Shelf) -> None:
        self._proxy = urlparse(proxy) if proxy else None
        self._shelf = shelf
        self._wire: Wire | None = None

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: int) -> None:  # noqa: ARG002
        """Open the connection; TLS comes later and ends at the broker, so a proxy sees no message."""
        loop, target = asyncio.get_running_loop(), self._proxy or uri
        opening = loop.create_connection(lambda: Wire(self._shelf), target.hostname or "", target.port or _PORT)
        _, wire = await asyncio.wait_for(opening, connect_timeout)
        self._wire = wire
        if self._proxy is not None:
            try:
                await asyncio.wait_for(_tunnel(wire, f"{uri.hostname}:{uri.port}"), connect_timeout)
            except BaseException:
                self.close()
                raise

    async def connect_tls(
        self,
        uri: str | ParseResult,
        ssl_context: ssl.SSLContext,
        buffer_size: int,  # noqa: ARG002
        connect_timeout: int,
    ) -> None:
        """TLS over the open connection."""
        loop, wire = asyncio.get_running_loop(), Wire(self._shelf)
        host = uri if isinstance(uri, str) else uri.hostname
        opening = loop.start_tls(self._open.transport, wire, ssl_context, server_hostname=host)
        wire.transport = await asyncio.wait_for(opening, connect_timeout)
        self._wire = wire

    def write(self, payload: bytes | memoryview) -> None:
        """Queue bytes; `drain` sends them."""
        self._open.write(payload)

    def writelines(self, payload: Sequence[bytes | memoryview]) -> None:
        """Queue several."""
        for one in payload:
            self._open.write(one)

    async def drain(self) -> None:
        """Send what is queued."""
        await self._open.drain()

    async def read(self, buffer_size: int) -> bytes:  # noqa: ARG002
        """What came next: whole small messages as text, or a large one that `Parser` knows."""
        return cast(bytes, await self._open.read())

    async def readline(self) -> bytes:
        """One line, while the connection is being opened."""
        return await self._open.line()

    def at_eof(self) -> bool:
        """Whether nothing more comes."""
        return self._wire is None or self._wire.at_eof()

    def close(self) -> None:
        """Begin to close."""
        if self._wire is not None:
            self._wire.transport.close()

    async def wait_closed(self) -> None:
        """nats-py reconnects only after this; over TLS to a peer that is gone it would take half a minute."""
        if self._wire is None:
            return
        with suppress(Exception):
            await asyncio.wait_for(self._wire.wait_closed(), _GOODBYE_S)
        self._wire.transport.abort()

    def __bool__(self) -> bool:
        return self._wire is not None

    @property
    def _open(self) -> Wire:
        if self._wire is None:
            raise ConnectionError("not connected")
        return self._wire


class Web(WebSocketTransport):
    """A web socket over TLS, for networks that let nothing else out.

    The proxy is named: left to itself, aiohttp takes no notice of the environment's for wss and goes out directly.
    """

    def __init__(self, proxy: str | None) -> None:
        super().__init__()
        self._proxy = proxy
        self._below: asyncio.Transport | None = None

    async def connect_tls(
        self,
        uri: str | ParseResult,
        ssl_context: ssl.SSLContext,
        buffer_size: int,  # noqa: ARG002
        connect_timeout: int,
    ) -> None:
        """Open it, if it is not open: nats-py asks a second time when the broker says that it wants TLS."""
        if self._ws is not None and not self._ws.closed:
            return
        url = uri if isinstance(uri, str) else uri.geturl()
        opening = self._client.ws_connect(url, ssl=ssl_context, proxy=self._proxy, max_msg_size=0)
        self._ws = await asyncio.wait_for(opening, connect_timeout)
        connection: Any = self._ws._response.connection
        self._using_tls, self._below = True, connection.transport

    async def wait_closed(self) -> None:
        """As for Tcp."""
        with suppress(Exception):
            await asyncio.wait_for(super().wait_closed(), _GOODBYE_S)  # type: ignore[no-untyped-call]
        if self._below is not None:
            self._below.abort()
            await asyncio.sleep(0)


class BrokerClient(Client):
    """A client that makes its connections with `Tcp`, or with `Web` where the address begins with wss."""

    def __init__(self, proxy: str | None, tls: Callable[[], ssl.SSLContext | None]) -> None:
        super().__init__()
        self._proxy, self._tls = proxy, tls
        self._shelf, self._ps = Shelf(_CHUNKS), Parser(self)

    async def _connect_to_server(self, s: Server) -> None:
        s.last_attempt = asyncio.get_running_loop().time()
        if (context := self._tls()) is not None:
            self.options["tls"] = context  # read again: a new certificate is used from the next connection on
        if s.uri.scheme == "wss":
            if isinstance(self._transport, Web):
                await self._transport.wait_closed()
            self._transport: Any = Web(self._proxy)
            await self._transport.connect_tls(s.uri, self.ssl_context, READ_BYTES, CONNECT_TIMEOUT_S)
            return
        self._transport = Tcp(self._proxy, self._shelf)
        await self._transport.connect(s.uri, buffer_size=READ_BYTES, connect_timeout=CONNECT_TIMEOUT_S)

    async def _send_publish(
        self, subject: str, reply: str, payload: bytes | Sealed, payload_size: int, headers: dict[str, str] | None
    ) -> None:
        """As nats-py does, but a payload in two parts stays in two parts, and none of it is copied."""
        if not isinstance(payload, Sealed):
            await super()._send_publish(subject, reply, payload, payload_size, headers)
            return
        lines = "".join(f"{key}: {value}\r\n" for key, value in (headers or {}).items())
        header = f"NATS/1.0\r\n{lines}\r\n".encode()
        first = f"HPUB {subject} {reply} {len(header)} {len(header) + payload_size}\r\n".encode()
        self.stats["out_msgs"] += 1
        self.stats["out_bytes"] += payload_size
        self._pending += [first + header + payload.head, cast(bytes, payload.rest)]
        self._pending_data_size += len(first) + len(header) + payload_size
        await self._send_command(b"\r\n")
        if self._flush_queue is not None and self._flush_queue.empty():
            await self._flush_pending()


class Parser(TextParser):
    """nats-py's, which is left the small messages; large ones come whole."""

    async def parse(self, data: bytes | Large = b"") -> None:
        """Handle what came."""
        if not isinstance(data, Large):
            await super().parse(data)
            return
        subject, number, *reply = data.line[1 : -2 if data.header is not None else -1]
        await self.nc._process_msg(int(number), subject, reply[0] if reply else b"", data.payload, data.header)


async def _tunnel(wire: Wire, target: str) -> None:
    wire.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    await wire.drain()
    status = (first := await wire.line()).split()
    while first not in (b"\r\n", b""):
        first = await wire.line()
    if len(status) < 2 or status[1] != b"200":
        code = status[1].decode("ascii", "replace") if len(status) > 1 else "none"
        raise ConnectionError(f"the proxy opened no tunnel to the broker (status {code}).")
