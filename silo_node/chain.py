"""The receipts of what left, a chain a job, in the hospital's own state: each is on disk before the bytes it is about leave."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from msgspec.structs import replace

from protocol.canonical import digest_bytes
from protocol.errors import SiloError
from protocol.evidence.receipt import Head, ReleaseReceipt, write_receipt
from protocol.identity import Identity


class Chain:
    """One job's receipts in the file `path`, signed by `identity`. Two processes of one silo may write it in turn."""

    def __init__(self, path: Path, identity: Identity) -> None:
        self.path, self._identity = path, identity
        self._known: tuple[int, Head] | None = None

    def append(self, receipt: ReleaseReceipt) -> None:
        """Sign `receipt` as the next one and write it; on disk before this returns. Its place in the chain is filled in here.

        Raises OSError, and SiloError if the file is not a chain.
        """
        with self._locked() as file:
            size, head = self._end(file)
            line = write_receipt(self._identity, replace(receipt, seq=head.length, previous=head.digest))
            self._known = None  # until it is written whole
            file.seek(size)
            file.write(line + b"\n")
            file.flush()
            os.fsync(file.fileno())
            self._known = size + len(line) + 1, Head(head.length + 1, digest_bytes(line))

    def lines(self) -> tuple[bytes, ...]:
        """Every receipt, in order; none before the first."""
        if not self.path.exists():
            return ()
        with self._locked() as file:
            size, _ = self._end(file)
            file.seek(0)
            return tuple(file.read(size).split(b"\n")[:-1])

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        fresh = not self.path.exists()
        if fresh:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # given back when the file is closed
            if fresh:
                _sync_folder(self.path.parent)
            yield file

    def _end(self, file: BinaryIO) -> tuple[int, Head]:
        """Size and head. A last line that was cut, by a kill or a full disk, is taken off: what it is about never left."""
        size = os.fstat(file.fileno()).st_size
        if self._known is not None and self._known[0] == size:
            return self._known
        file.seek(0)
        data = file.read()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            file.truncate(whole)
            os.fsync(file.fileno())
        lines = data[:whole].split(b"\n")[:-1]
        if not all(line.startswith(b"{") and line.endswith(b"}") for line in lines):
            raise SiloError(f"{self.path.name} of this job was changed; restore it from your backup, or start a new job.")
        self._known = whole, Head(len(lines), digest_bytes(lines[-1]) if lines else "")
        return self._known


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
