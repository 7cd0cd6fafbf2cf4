"""The outer end of one fork: questions go in, answers come out and are taken for what they are, a stranger's bytes."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import numpy as np

from privacy.sandbox import wire
from privacy.sandbox.limits import Limits
from protocol.errors import CodeError, MessageError

_SHORT = (
    2**16
)  # bytes of a header, where the asker knows what it waits for: to read a long one would take time after the deadline
_FAILED = (
    "the plan's own module failed, or took more time or memory than it has. "
    "`fedward plan check` tries it on blank images and shows its errors."
)


class Fresh:
    """One fork. After the first failure it answers nothing more: what runs in it may be in any state. For one thread."""

    def __init__(self, channel: socket.socket, limits: Limits, tell: bool, end: Callable[[], None]) -> None:
        self._channel, self._limits, self._tell, self._end = channel, limits, tell, end
        self._usable = True

    def call(
        self,
        task: str,
        values: wire.Values,
        arrays: wire.Arrays,
        *,
        deadline: float,
        answer: wire.Shapes | None = None,
        most_bytes: int | None = None,
    ) -> tuple[wire.Values, dict[str, np.ndarray]]:
        """What `task` answers until `deadline` (a time.monotonic() value), or until a call's own limit.

        `answer` names the arrays that must come back, with types and shapes, all finite; without it any may, of at most
        `most_bytes`: who has images decides nothing about how much memory the node needs. Raises CodeError
        with one and the same text whatever failed inside; with `tell` also what the module said. Raises MessageError if the
        question cannot be sent.
        """
        pieces = wire.pack(task, values, arrays)
        if not self._usable:
            raise CodeError(_FAILED)
        self._usable = False
        until = min(deadline, time.monotonic() + self._limits.call_seconds)
        try:
            self._refuse_unasked()
            for piece in pieces:
                self._write(piece, until)
            found = self._answer(until, answer, most_bytes)
        except (OSError, EOFError, MessageError, MemoryError) as error:
            raise CodeError(self._say(_kind(error))) from (error if self._tell else None)
        self._usable = True
        return found

    def close(self) -> None:
        """End the fork, whatever it does."""
        if self._channel.fileno() != -1:
            self._channel.close()
            self._usable = False
            self._end()

    def _say(self, text: str) -> str:
        return f"the plan's own module: {text}" if self._tell else _FAILED

    def _refuse_unasked(self) -> None:
        self._channel.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            if self._channel.recv(1, socket.MSG_PEEK):
                raise MessageError("it answered without being asked.")
            raise EOFError

    def _answer(
        self, until: float, wanted: wire.Shapes | None, most_bytes: int | None
    ) -> tuple[wire.Values, dict[str, np.ndarray]]:
        most = self._limits.reply_bytes if most_bytes is None else min(most_bytes, self._limits.reply_bytes)
        length = wire.header_length(bytes(self._read(memoryview(bytearray(wire.LENGTH)), until)))
        if most_bytes is not None and length > _SHORT:
            raise MessageError("a longer header than an answer of numbers has.")
        header = wire.parse_header(bytes(self._read(memoryview(bytearray(length)), until)), most)
        if header.failed is not None:
            said = "".join(letter if letter.isprintable() else " " for letter in header.failed[:2000])
            raise CodeError(self._say(said))
        if header.task:
            raise MessageError("it asked instead of answering.")
        if wanted is not None:
            wire.refuse_other(header, wanted)
        arrays = {}
        for entry, (array, view) in zip(header.arrays, wire.empty_arrays(header), strict=True):
            self._read(view, until)
            if wanted is not None:
                wire.refuse_not_finite(entry.name, array)
            arrays[entry.name] = array
        return header.values, arrays

    def _read(self, view: memoryview, until: float) -> memoryview:
        rest = view
        while rest:
            self._channel.settimeout(_left(until))
            got = self._channel.recv_into(rest)
            if not got:
                raise EOFError
            rest = rest[got:]
        return view

    def _write(self, piece: memoryview, until: float) -> None:
        while piece:
            self._channel.settimeout(_left(until))
            piece = piece[self._channel.send(piece) :]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with contextlib.suppress(CodeError):
            self.close()


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _kind(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "it took longer than it may. Look for a loop without an end, or make the network smaller."
    if isinstance(error, EOFError | ConnectionError):
        return "its process ended: it used more memory or time than it may, was stopped by the system, or left by itself."
    return str(error)
