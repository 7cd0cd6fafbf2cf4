"""Chunks become bytes again: in any order, each counted once. A state machine without I/O."""

from __future__ import annotations

import io

from protocol.errors import MessageError
from protocol.transport.nats.transfer import CHUNK_BYTES, Envelope, Transfer, whole_digest


class Assembly:
    """One transfer on its way in. Holds at most what the transfer's signed size says.

    Feed it envelopes and chunks that `open_chunk` has let through.
    """

    def __init__(self, transfer: Transfer) -> None:
        self.transfer = transfer
        self._digests: dict[int, bytes] = {}
        try:
            # One allocation of the signed size, its pages given as they are written: nothing moves as it grows, and
            # the buffer becomes `bytes` without a copy.
            self._buffer = io.BytesIO(bytes(transfer.size))
        except MemoryError as error:
            raise MessageError(f"a transfer of {transfer.size} bytes does not fit in memory") from error

    def add(self, envelope: Envelope, chunk: memoryview) -> bool:
        """Take a chunk in; False if it was here before. Raises MessageError if it does not belong to what is here."""
        if envelope.transfer != self.transfer:
            raise MessageError("two transfers share one name")
        known = self._digests.get(envelope.index)
        if known is not None:
            if known != envelope.chunk:
                raise MessageError("a chunk came twice with different contents")
            return False
        self._buffer.seek(envelope.index * CHUNK_BYTES)
        self._buffer.write(chunk)
        self._digests[envelope.index] = envelope.chunk
        return True

    @property
    def complete(self) -> bool:
        """Whether every chunk is here."""
        return len(self._digests) == self.transfer.chunks

    def result(self) -> bytes:
        """The bytes; the assembly is empty afterwards. Raises MessageError unless they are exactly what was signed."""
        if not self.complete:
            raise MessageError("chunks are missing")
        if whole_digest(tuple(self._digests[i] for i in range(self.transfer.chunks))) != self.transfer.digest:
            raise MessageError("the chunks are not those of one transfer")
        data, self._buffer = self._buffer.getvalue(), io.BytesIO()
        self._digests = {}
        return data
