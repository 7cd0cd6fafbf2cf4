"""What a silo's inbox remembers over a restart: which requests are answered, and where its latest reply lies."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from msgspec import Struct

from protocol.errors import TransportError
from protocol.transport.nats.heartbeat import Notice
from protocol.transport.nats.transfer import Sequence


class Remembered(Struct, frozen=True, forbid_unknown_fields=True):
    """`sequence`: that of the latest request answered, 0 at first; what is not later is never answered again."""

    sequence: Sequence = 0
    replied: Notice | None = None


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

    def keep(self, remembered: Remembered) -> None:
        """Remember, on disk before this returns. Raises OSError; even then it is remembered until the next start."""
        self.now = remembered
        if self._path is not None:
            partial = self._path.with_suffix(".partial")
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with partial.open("wb") as handle:
                handle.write(msgspec.json.encode(remembered))
                handle.flush()
                os.fsync(handle.fileno())
            partial.replace(self._path)
