"""One TCP connection under nats-py: large messages are read straight into their own memory, and written in pieces.

asyncio's streams and nats-py's parser copy every byte of a chunk eight times on its way in and seven on its way out, most of
them into memory that the kernel must clear first. That cost more than TLS and the digests together.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Any

from protocol.transport.nats.shelf import LARGE, Shelf

_PIECE = 7 << 14  # seven records of TLS: what OpenSSL makes of them stays below what malloc gives back to the kernel each time
_TEXT = 1 << 16
_LINE = 1 << 16  # an INFO is a few thousand bytes; a line without an end is not from a broker
_AHEAD = 8 << 20  # bytes of large messages that may wait here before the broker has to
_MOST = (8 << 20) + _LINE


@dataclass(slots=True)
class Large:
    """One message as it came: the parts of its first line, its header (None without) and its payload, a view."""

    line: list[bytes]
    header: bytes | None
    payload: memoryview


class Wire(asyncio.BufferedProtocol):
    """Both directions of one connection. `lines` come while it is being opened, `read` after that.

    What it hands out is either the text of whole small messages, left to nats-py's parser, or one `Large`.
    """

    def __init__(self, shelf: Shelf) -> None:
        self._shelf, self._loop = shelf, asyncio.get_running_loop()
        self._scratch = memoryview(bytearray(_TEXT))
        self._text = bytearray()
        self._line: list[bytes] = []
        self._large: memoryview | None = None
        self._filled = 0
        self._ready: deque[bytes | Large] = deque()
        self._ahead, self._paused, self._hung_up = 0, False, False
        self._news = asyncio.Event()
        self._clear = asyncio.Event()
        self._clear.set()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._error: Exception | None = None
        self._out: deque[bytes | memoryview] = deque()
        self._writing = asyncio.Lock()
        self.transport: Any = None

    # ---------------------------------------------------------------------------------------------- called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open."""
        self.transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """Where the next bytes go: into the large message that is arriving, or to the text."""
        return self._scratch if self._large is None else self._large[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes came."""
        if self._large is None:
            self._text += self._scratch[:nbytes]
            self._scan()
            return
        self._filled += nbytes
        if self._filled == len(self._large):
            self._end_large()

    def eof_received(self) -> None:
        """The other side hung up."""
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing comes or goes any more."""
        self._end(exc)
        self._clear.set()
        if not self._over.done():
            self._over.set_result(None)

    def pause_writing(self) -> None:
        """What was written waits for the other side."""
        self._clear.clear()

    def resume_writing(self) -> None:
        """It may have more."""
        self._clear.set()

    # ----------------------------------------------------------------------------------------------------- called by us

    def at_eof(self) -> bool:
        """Whether everything that came was handed out, and nothing more will come."""
        return self._hung_up and not self._ready

    async def read(self) -> bytes | Large:
        """What came next; empty at the end. Raises OSError if the connection broke."""
        while not self._ready:
            if self._error is not None:
                raise self._error
            if self._hung_up:
                return b""
            self._news.clear()
            await self._news.wait()
        found = self._ready.popleft()
        if isinstance(found, Large):
            self._ahead -= len(found.payload)
            self._pause()
        return found

    async def line(self) -> bytes:
        """One line, its end included; empty at the end."""
        found = await self.read()
        if isinstance(found, Large):
            raise ConnectionError("a message came before the connection was open")
        first, end, rest = found.partition(b"\n")
        if rest:
            self._ready.appendleft(rest)
        return first + end

    def write(self, data: bytes | memoryview) -> None:
        """Queue `data`; `drain` sends it. It must not change until then."""
        self._out.append(data)

    async def drain(self) -> None:
        """Send what is queued, a piece at a time, as fast as the other side takes it. Raises OSError."""
        async with self._writing:
            while self._out:
                data = memoryview(self._out.popleft())
                if len(data) > _PIECE:
                    self._out.appendleft(data[_PIECE:])  # kept before any wait: whoever drains next goes on from here
                if self._over.done():
                    raise self._error or ConnectionResetError("the connection is lost")
                self.transport.write(data[:_PIECE])
                await self._clear.wait()

    async def wait_closed(self) -> None:
        """Until the connection is gone."""
        await asyncio.shield(self._over)

    # ----------------------------------------------------------------------------------------------------------- framing

    def _scan(self) -> None:
        """Hand out the whole small messages in the text; where a large one begins, the rest of it is read elsewhere."""
        text, start = self._text, 0
        while (end := text.find(b"\r\n", start)) >= 0:
            size, line = _payload(text, start, end)
            if size is None:
                start = end + 2
                continue
            if size < LARGE:
                if len(text) < end + 2 + size + 2:
                    break
                start = end + 2 + size + 2
                continue
            self._hand(bytes(text[:start]))
            self._begin_large(line, size, text[end + 2 :])
            return
        if len(text) - start > _LINE + LARGE:
            self.transport.abort()
            return
        if start:
            self._hand(bytes(text[:start]))
            del text[:start]

    def _begin_large(self, line: list[bytes], size: int, came: bytearray) -> None:
        if size > _MOST:
            self.transport.abort()
            return
        self._line = line
        self._large = self._shelf.take(size + 2)
        self._filled = min(len(came), size + 2)
        self._large[: self._filled] = came[: self._filled]
        self._text = came[self._filled :]
        if self._filled == len(self._large):
            self._end_large()

    def _end_large(self) -> None:
        whole, line = self._large, self._line
        if whole is None:
            return
        self._large, self._filled = None, 0
        split = int(line[-2]) if line[0] == b"HMSG" else 0
        payload = whole[split:-2]
        self._ahead += len(payload)
        self._hand(Large(line, bytes(whole[:split]) if split else None, payload))
        self._pause()
        if self._text:
            self._scan()

    def _hand(self, what: bytes | Large) -> None:
        if what:
            self._ready.append(what)
            self._news.set()

    def _pause(self) -> None:
        if self._hung_up or self._paused == (self._ahead > _AHEAD):
            return
        self._paused = not self._paused
        if self._paused:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def _end(self, error: Exception | None) -> None:
        self._hung_up, self._error = True, self._error or error
        self._news.set()


def _payload(text: bytearray, start: int, end: int) -> tuple[int | None, list[bytes]]:
    """How many bytes follow the line at `start`, and its words; None if it is not the first line of a message."""
    if not text.startswith((b"MSG ", b"HMSG "), start):
        return None, []
    line = bytes(text[start:end]).split()
    try:
        size, header = int(line[-1]), int(line[-2]) if line[0] == b"HMSG" else 0
    except ValueError:
        return None, []  # nats-py's parser says what is wrong with it
    if not 4 <= len(line) <= 6 or not 0 <= header <= size:
        return None, []
    return size, line
