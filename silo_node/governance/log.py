"""The hospital's decisions on disk: one signed line each, only ever added to, and never shorter than they once were."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from protocol.errors import ApprovalError, EvidenceError
from protocol.governance.decisions import FIRST, Decision, check_chain, decode

_MAX_BYTES = 64 << 20


class DecisionLog:
    """The decisions in `path`. `memory` lies apart from it and holds how many there were: a log that lost some is refused.

    No log means no decision was made yet, unless `memory` knows better.
    """

    def __init__(self, path: Path, memory: Path) -> None:
        self._path, self._memory = path, memory
        self._read: tuple[tuple[int, ...], tuple[Decision, ...]] | None = None

    def decisions(self) -> tuple[Decision, ...]:
        """All of them, the oldest first. Raises ApprovalError if the log was changed, shortened, or cannot be read."""
        if not self._path.exists():
            if self._remembered()[0] == 0:
                return ()
            if not self._path.exists():  # else the first decision was made just now
                return self._known(())
        with self._locked(os.O_RDONLY, fcntl.LOCK_SH) as descriptor:
            status = os.fstat(descriptor)
            stamp = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
            if self._read is None or self._read[0] != stamp:
                self._read = stamp, self._parse(_all(descriptor))
            return self._known(self._read[1])  # under the lock: or a decision made meanwhile would look like a lost one

    def add(self, make: Callable[[str], Decision]) -> Decision:
        """Append what `make` makes of the digest of the newest decision; it is safe on disk when this returns."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._locked(os.O_RDWR | os.O_CREAT | os.O_APPEND, fcntl.LOCK_EX) as descriptor:
            data = _all(descriptor)
            before = self._known(self._parse(data))
            decision = make(before[-1].digest if before else FIRST)
            check_chain((*before, decision))
            whole = data.rfind(b"\n") + 1
            if whole < len(data):
                os.ftruncate(descriptor, whole)  # a line whose writing was cut short decided nothing
            line = msgspec.json.encode(decision) + b"\n"
            while line:
                line = line[os.write(descriptor, line) :]
            os.fsync(descriptor)
            self._remember((*before, decision))
        return decision

    def _parse(self, data: bytes) -> tuple[Decision, ...]:
        lines = data[: data.rfind(b"\n") + 1].splitlines()
        try:
            found = tuple(decode(line) for line in lines)
            check_chain(found)
        except EvidenceError as error:
            raise ApprovalError(f"{self._path.name} was changed: {error} Restore it from your backup.") from error
        return found

    def _known(self, found: tuple[Decision, ...]) -> tuple[Decision, ...]:
        """`found`, unless more was known before. Raises ApprovalError."""
        count, digest = self._remembered()
        if len(found) < count or (count and found[count - 1].digest != digest):
            raise ApprovalError(
                f"{self._path.name} lacks decisions that were made here: an older copy was put in its place. Restore the "
                "newest one from your backup; until then no plan counts as approved."
            )
        if len(found) > count:
            self._remember(found)
        return found

    def _remembered(self) -> tuple[int, str]:
        try:
            known = json.loads(self._memory.read_bytes())
            return int(known["decisions"]), str(known["newest"])
        except FileNotFoundError:
            return 0, FIRST
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ApprovalError(f"{self._memory.name} cannot be read; restore it from your backup.") from error

    def _remember(self, found: tuple[Decision, ...]) -> None:
        partial = self._memory.with_suffix(f".{os.getpid()}.partial")
        with partial.open("wb") as handle:
            handle.write(json.dumps({"decisions": len(found), "newest": found[-1].digest}).encode())
            handle.flush()
            os.fsync(handle.fileno())
        partial.replace(self._memory)

    @contextmanager
    def _locked(self, flags: int, lock: int) -> Iterator[int]:
        try:
            descriptor = os.open(self._path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise ApprovalError(f"{self._path.name} cannot be opened ({error.strerror}).") from error
        try:
            fcntl.flock(descriptor, lock)
            yield descriptor
        finally:
            os.close(descriptor)


def _all(descriptor: int) -> bytes:
    if os.fstat(descriptor).st_size > _MAX_BYTES:
        raise ApprovalError("the decisions are larger than any hospital's; they were not read.")
    data = bytearray()
    while block := os.pread(descriptor, 1 << 20, len(data)):
        data += block
    return bytes(data)
