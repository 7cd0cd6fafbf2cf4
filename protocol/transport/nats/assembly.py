"""Chunks become bytes again: in any order, each counted once. A state machine without I/O."""

from __future__ import annotations

from typing import cast

from protocol.errors import MessageError
from protocol.transport.nats.shelf import Shelf
from protocol.transport.nats.transfer import CHUNK_BYTES, Envelope, Transfer, whole_digest

_VIEWED = 1 << 20
"""Bytes from which on a whole message is a view; below, a copy costs nothing."""


class Assembly:
    """One transfer on its way in. Holds at most what the transfer's signed size says, in memory from `shelf`.

    Feed it envelopes and chunks that `open_chunk` has let through.
    """

    def __init__(self, transfer: Transfer, shelf: Shelf) -> None:
        self.transfer = transfer
        self._digests: dict[int, bytes] = {}
        try:
            # One allocation of the signed size, its pages given as they are written: nothing moves as it grows.
            self._view: memoryview | None = shelf.take(transfer.size)
        except MemoryError as error:
            raise MessageError(f"a transfer of {transfer.size} bytes does not fit in memory") from error

    def add(self, envelope: Envelope, chunk: memoryview) -> bool:
        """Take a chunk in; False if it was here before. Raises MessageError if it does not belong to what is here."""
        if envelope.transfer != self.transfer or self._view is None:
            raise MessageError("two transfers share one name")
        known = self._digests.get(envelope.index)
        if known is not None:
            if known != envelope.chunk:
                raise MessageError("a chunk came twice with different contents")
            return False
        start = envelope.index * CHUNK_BYTES
        self._view[start : start + len(chunk)] = chunk
        self._digests[envelope.index] = envelope.chunk
        return True

    @property
    def complete(self) -> bool:
        """Whether every chunk is here."""
        return len(self._digests) == self.transfer.chunks

    def result(self) -> bytes:
        """The bytes; the assembly is empty afterwards. Raises MessageError unless they are exactly what was signed.

        Large ones are a read-only view of the shelf's memory, which is not used again while anything looks at it.
        """
        if not self.complete or self._view is None:
            raise MessageError("chunks are missing")
        if whole_digest(tuple(self._digests[i] for i in range(self.transfer.chunks))) != self.transfer.digest:
            raise MessageError("the chunks are not those of one transfer")
        view, self._view = self._view.toreadonly(), None
        self._digests = {}
        return bytes(view) if len(view) < _VIEWED else cast(bytes, view)  # who decodes it takes either
