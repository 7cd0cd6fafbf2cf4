"""The verified lines of a ledger, in memory. Pure: bytes in, entries or a LedgerError out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from privacy.ledger.entry import Entry, Head, read_charge, read_genesis
from protocol.errors import LedgerError

_ADVICE = (
    "Nothing can be charged or released. Keep the file for the audit and restore the newest copy; without one the budget of "
    "this cohort counts as spent."
)


@dataclass(frozen=True)
class Lines:
    """Everything that stands in a ledger's file and verifies."""

    cohort: str
    created: str
    genesis: str
    """Digest of the first line."""
    entries: Sequence[Entry]
    size: int
    """Bytes of the verified lines."""
    torn: int = 0
    """Bytes after them of a line that was never finished."""
    line_end: bytes = b""
    """What has to stand before the next line: a line end, if the last line is complete but for that."""

    @property
    def head(self) -> Head:
        """How many charges, and the digest of the last line."""
        return Head(len(self.entries), self.entries[-1].digest if self.entries else self.genesis)

    def holds(self, head: Head) -> bool:
        """Whether `head` was the state at some time."""
        if not 0 <= head.entries <= len(self.entries):
            return False
        return head.digest == (self.entries[head.entries - 1].digest if head.entries else self.genesis)

    def find(self, job: str, release: str) -> Entry | None:
        """The charge of a release."""
        return next((entry for entry in self.entries if (entry.job, entry.release) == (job, release)), None)

    def followed_by(self, entry: Entry, n_bytes: int) -> Lines:
        """The lines after one more charge of `n_bytes` bytes."""
        return replace(self, entries=(*self.entries, entry), size=self.size + n_bytes, torn=0, line_end=b"")


def read_lines(data: bytes, name: str) -> Lines:
    """The lines of the ledger `name`. Raises LedgerError naming the first line that does not verify."""
    *whole, tail = data.split(b"\n")
    if not whole:
        raise LedgerError(f"{name}: the ledger was never finished being made, so nothing was charged. Make it again.")
    try:
        cohort, created, genesis = read_genesis(whole[0])
    except LedgerError as error:
        raise LedgerError(f"{name}: line 1 does not verify: {error}. {_ADVICE}") from error
    entries: list[Entry] = []
    prev = genesis
    for seq, line in enumerate(whole[1:], 1):
        try:
            entries.append(read_charge(line, seq, prev))
        except LedgerError as error:
            raise LedgerError(f"{name}: line {seq + 1} does not verify: {error}. {_ADVICE}") from error
        prev = entries[-1].digest
    size = len(data) - len(tail)
    last = _read(tail, len(entries) + 1, prev)
    if last is not None:
        return Lines(cohort, created, genesis, (*entries, last), len(data), line_end=b"\n")
    if _read(tail[:-1], len(entries) + 1, prev) is not None:
        raise LedgerError(f"{name}: line {len(entries) + 2} does not verify: its line end was changed. {_ADVICE}")
    return Lines(cohort, created, genesis, tuple(entries), size, torn=len(tail))


def _read(line: bytes, seq: int, prev: str) -> Entry | None:
    try:
        return read_charge(line, seq, prev)
    except LedgerError:
        return None
