"""nats-py with what it lacks: a proxy, large reads, and an end to connections whose other side is gone."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any
from urllib.parse import ParseResult, urlparse

from nats.aio.client import Client
from nats.aio.client import Srv as Server
from nats.aio.transport import TcpTransport

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


class BrokerClient(Client):
    """A client that makes its connections with `Tcp`."""

    def __init__(self, proxy: str | None) -> None:
        super().__init__()
        self._proxy = proxy

    async def _connect_to_server(self, s: Server) -> None:
        s.last_attempt = asyncio.get_running_loop().time()
        if s.uri.scheme in ("ws", "wss"):
            await super()._connect_to_server(s)
            return
        self._transport: Any = Tcp(self._proxy)
        await self._transport.connect(s.uri, buffer_size=READ_BYTES, connect_timeout=CONNECT_TIMEOUT_S)


async def _tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: str) -> None:
    writer.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    await writer.drain()
    status = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n", 1)[0].split()
    if len(status) < 2 or status[1] != b"200":
        code = status[1].decode("ascii", "replace") if len(status) > 1 else "none"
        raise ConnectionError(f"the proxy opened no tunnel to the broker (status {code}).")
