"""pixels.bin while it is being written: arrays one after the other, aligned, hashed on the way."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from protocol.errors import StoreError
from silo_node.cohort import format as fmt


class PixelFile:
    """An append-only file of aligned arrays."""

    def __init__(self, path: Path) -> None:
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
        self._hash = hashlib.sha256()
        self._path = path
        self.size = 0
        """Bytes appended so far, and where the next array would go before alignment."""

    def adopt(self, size: int, sha256: str) -> bool:
        """Keep the next array that an earlier run appended, if it is whole; False leaves everything as it was."""
        offset = fmt.aligned(self.size)
        self._file.seek(self.size)
        whole, array, left = self._hash.copy(), hashlib.sha256(), size
        whole.update(self._file.read(offset - self.size))
        while left and (data := self._file.read(min(1 << 20, left))):
            whole.update(data)
            array.update(data)
            left -= len(data)
        if left or array.hexdigest() != sha256:
            return False
        self._hash, self.size = whole, offset + size
        return True

    def truncate(self) -> None:
        """Drop whatever an earlier run left behind the adopted bytes."""
        self._file.truncate(self.size)
        self._file.seek(self.size)

    def append(self, data: bytes | bytearray | memoryview) -> int:
        """Append one array's bytes; returns its offset. A full disk is a StoreError."""
        offset = fmt.aligned(self.size)
        padding = bytes(offset - self.size)
        try:
            self._file.write(padding)
            self._file.write(data)
        except OSError as error:
            raise disk_error(error) from error
        self._hash.update(padding)
        self._hash.update(data)
        self.size = offset + len(data)
        return offset

    def flush(self, *, durably: bool = False) -> None:
        """Hand everything to the operating system, and to the disk if `durably`."""
        try:
            self._file.flush()
            if durably:
                os.fsync(self._file.fileno())
        except OSError as error:
            raise disk_error(error) from error

    def entry(self) -> fmt.FileEntry:
        """Size and digest for the manifest."""
        return fmt.FileEntry(self.size, self._hash.hexdigest())

    def close(self) -> None:
        """Close the file; buffered bytes that no longer fit on the disk are lost, and the journal knows."""
        try:
            self._file.close()
        except OSError as error:
            raise disk_error(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def disk_error(error: OSError) -> StoreError:
    """What to say when the store cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreError(
            "The disk of the cohort store is full. What was imported so far is kept: "
            "free some space and run the same command again to go on."
        )
    return StoreError(
        f"The cohort store cannot be written ({os.strerror(error.errno or 0)}). Check the disk and the folder's "
        "permissions, then run the same command again."
    )
