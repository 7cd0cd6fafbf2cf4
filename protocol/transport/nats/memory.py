"""What a silo's inbox remembers over a restart: which requests are answered, and where its latest reply lies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from protocol.errors import TransportError
from protocol.transport.nats.heartbeat import Notice
from protocol.transport.nats.transfer import Hex, Sequence


class Begun(Struct, frozen=True, forbid_unknown_fields=True):
    """Request `request` was begun `times` times and not answered."""

    request: Hex
    times: Annotated[int, Meta(ge=1)]


class Remembered(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`sequence`: that of the latest request answered, 0 at first; what is not later is never answered again.

    `begun`: the request in hand, or the one at which the node died.
    """

    sequence: Sequence = 0
    replied: Notice | None = None
    begun: Begun | None = None


class Memory:
    """One small file, or nothing but memory without a `path`. Raises TransportError where the file cannot be used."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.now = Remembered()
        if path is None:
            return
        try:
            self.now = msgspec.json.decode(path.read_bytes(), type=Remembered)
        except FileNotFoundError:
            pass
        except (OSError, msgspec.DecodeError) as error:
            raise TransportError(
                f"{path.name} is damaged. Delete it if no job is running: a request of the past could then be answered again."
            ) from error

    def begin(self, request: str) -> int:
        """Remember that `request` is taken in hand; how often it was before and no answer came of it. Raises OSError.

        Not synchronised with the disk: it must outlive this process, and a power cut is not the request's fault.
        """
        known = self.now.begun
        before = known.times if known is not None and known.request == request else 0
        self._write(msgspec.structs.replace(self.now, begun=Begun(request, before + 1)), synchronise=False)
        return before

    def lived(self) -> None:
        """This process ends in order, whether or not the request in hand was answered. Raises OSError."""
        if self.now.begun is not None:
            self._write(msgspec.structs.replace(self.now, begun=None), synchronise=False)

    def keep(self, remembered: Remembered) -> None:
        """Remember, on disk before this returns. Raises OSError; even then it is remembered until the next start."""
        self._write(remembered, synchronise=True)

    def _write(self, remembered: Remembered, *, synchronise: bool) -> None:
        self.now = remembered
        if self._path is not None:
            partial = self._path.with_suffix(".partial")
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with partial.open("wb") as handle:
                handle.write(msgspec.json.encode(remembered))
                if synchronise:
                    handle.flush()
                    os.fsync(handle.fileno())
            partial.replace(self._path)
