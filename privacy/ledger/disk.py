"""The ledger's file on disk: open it under a lock, append to it, sync it. Every error is a LedgerError that says what to do."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from protocol.errors import LedgerError


def create(path: Path, line: bytes) -> None:
    """A new file that holds `line`, synced with its folder. A file without one complete line is one whose making was cut short.

    Raises LedgerError if there is a ledger already.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LedgerError(f"{path.name}: the ledger cannot be made ({error.strerror}).") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if b"\n" in read(descriptor, path.name):
            raise LedgerError(f"{path.name} exists: a cohort has one ledger for ever. Open it.")
        append(descriptor, line, path.name, keep=0)
        _sync_folder(path.parent)
    except OSError as error:
        raise LedgerError(f"{path.name}: the ledger cannot be made ({error.strerror}). Mend the disk, try again.") from error
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path, *, writing: bool) -> Iterator[int]:
    """The file, open; alone for `writing`, else together with other readers. Raises LedgerError."""
    try:
        descriptor = os.open(path, (os.O_RDWR | os.O_APPEND if writing else os.O_RDONLY) | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise LedgerError(
            f"{path.name}: there is no ledger here. If this cohort ever released anything, restore its ledger: without it the "
            "budget counts as spent."
        ) from error
    except OSError as error:
        raise LedgerError(f"{path.name}: the ledger cannot be opened ({error.strerror}).") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if writing else fcntl.LOCK_SH)
        yield descriptor
    finally:
        os.close(descriptor)


def read(descriptor: int, name: str) -> bytes:
    """Everything in the file."""
    data = bytearray()
    try:
        while block := os.pread(descriptor, 1 << 20, len(data)):
            data += block
    except OSError as error:
        raise LedgerError(f"{name}: the ledger cannot be read ({error.strerror}).") from error
    return bytes(data)


def append(descriptor: int, data: bytes, name: str, *, keep: int) -> None:
    """Cut off what stands after the first `keep` bytes, write `data` there, and return when it is safe on disk."""
    try:
        if os.fstat(descriptor).st_size > keep:
            os.ftruncate(descriptor, keep)
        while data:
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)
    except OSError as error:
        with suppress(OSError):  # what cannot be cut off now is cut off later if it is torn, and counts if it is whole
            os.ftruncate(descriptor, keep)
        raise LedgerError(
            f"{name}: the charge could not be written ({error.strerror}), so nothing is released. Free space on the disk, then "
            "try again."
        ) from error


def sync(descriptor: int, name: str) -> None:
    """Return when the file is safe on disk."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise LedgerError(f"{name}: the ledger cannot be synced ({error.strerror}), so nothing is released.") from error


def signature(descriptor: int) -> tuple[int, ...]:
    """Changes when another process has written, or another file was put in this one's place."""
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
