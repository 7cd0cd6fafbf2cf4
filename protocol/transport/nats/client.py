"""nats-py with what it lacks: a proxy, large reads, and an end to connections whose other side is gone."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import ParseResult, urlparse

from nats.aio.client import Client
from nats.aio.client import Srv as Server
from nats.aio.transport import TcpTransport, WebSocketTransport

READ_BYTES = 1 << 20
CONNECT_TIMEOUT_S = 10
_GOODBYE_S = 1.0


class Tcp(TcpTransport):
    """A TCP connection, through an HTTP proxy if one is named."""

    def __init__(self, proxy: str | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._proxy = urlparse(proxy) if proxy else None

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: int) -> None:  # noqa: ARG002
        """Open the connection; TLS comes later and ends at the broker, so a proxy sees no message."""
        target = self._proxy or uri
        reader, writer = await asyncio.wait_for(
            asyncio.open_connection(target.hostname, target.port, limit=READ_BYTES), connect_timeout
        )
        self._bare_io_reader = self._io_reader = reader
        self._bare_io_writer = self._io_writer = writer
        if self._proxy is not None:
            try:
                await asyncio.wait_for(_tunnel(reader, writer, f"{uri.hostname}:{uri.port}"), connect_timeout)
            except BaseException:
                writer.close()
                raise

    async def connect_tls(
        self,
        uri: str | ParseResult,
        ssl_context: ssl.SSLContext,
        buffer_size: int,  # noqa: ARG002
        connect_timeout: int,
    ) -> None:
        """As nats-py does, with room for more than 64 KiB before the other side is told to wait."""
        if self._io_writer is None:
            raise ConnectionError("not connected")
        loop, reader = asyncio.get_running_loop(), asyncio.StreamReader(limit=READ_BYTES)
        protocol: Any = asyncio.StreamReaderProtocol(reader)
        protocol._over_ssl = True  # else asyncio warns at every end of a connection
        host = uri if isinstance(uri, str) else uri.hostname
        opening = loop.start_tls(self._io_writer.transport, protocol, ssl_context, server_hostname=host)
        transport: Any = await asyncio.wait_for(opening, connect_timeout)
        self._io_reader, self._io_writer = reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    async def read(self, buffer_size: int) -> bytes:
        """More at a time than nats-py asks for: a chunk is 4 MiB."""
        return bytes(await super().read(max(buffer_size, READ_BYTES)))

    async def wait_closed(self) -> None:
        """nats-py reconnects only after this; over TLS to a peer that is gone it would take half a minute."""
        if self._io_writer is None:
            return
        with suppress(Exception):
            await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(self._io_writer.wait_closed())), _GOODBYE_S)
        self._io_writer.transport.abort()


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
        self._transport = Tcp(self._proxy)
        await self._transport.connect(s.uri, buffer_size=READ_BYTES, connect_timeout=CONNECT_TIMEOUT_S)


async def _tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: str) -> None:
    writer.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    await writer.drain()
    status = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n", 1)[0].split()
    if len(status) < 2 or status[1] != b"200":
        code = status[1].decode("ascii", "replace") if len(status) > 1 else "none"
        raise ConnectionError(f"the proxy opened no tunnel to the broker (status {code}).")
