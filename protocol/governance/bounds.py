"""How much of one party may wait or be kept at another, so that nobody fills a hospital's disk or crowds out the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from protocol.governance.pysyft.share import Share


@dataclass(frozen=True)
class Bound:
    """At most so many files, of so many bytes together."""

    files: int
    size: int

    def shared_by(self, parties: int) -> Bound:
        """What each of so many may have, that all together stay within sixteen times the bound; at least one file."""
        parts = max(1, parties / 16)
        return Bound(max(1, int(self.files / parts)), max(1, int(self.size / parts)))


INBOX = Bound(64, 16 << 20)
"""Messages of one sender that wait at a hospital, and that it takes at one look; more wait at the sender's end of the share."""
MESSAGE_BYTES = 8 << 20
"""The largest message: a plan with its cover is far below."""
ARCHIVE = Bound(512, 64 << 20)
"""Messages of one sender that were taken or put aside, and are still kept; the oldest go first."""

JOBS = Bound(4000, 64 << 20)
"""Files of one researcher's jobs that PySyft keeps at a hospital; it forgets none, so beyond this nothing more is taken."""


def oldest(share: Share, folder: Path, bound: Bound) -> Iterator[Path]:
    """The files of `folder` that come first by name, as messages do by time, within `bound`; but always one.

    One that is larger than any message is left where it is.
    """
    size = number = 0
    for name in share.names(folder):
        try:
            length = (folder / name).stat().st_size
        except OSError:  # taken meanwhile
            continue
        if length > MESSAGE_BYTES:
            continue
        number, size = number + 1, size + length
        if number > 1 and (number > bound.files or size > bound.size):
            return
        yield folder / name


def drop_oldest(share: Share, folder: Path, bound: Bound) -> int:
    """Remove the oldest files of `folder` until it is within `bound`. Returns how many went."""
    found = []
    for name in share.names(folder):
        with suppress(FileNotFoundError):  # another look at the share has removed it
            status = (folder / name).stat()
            found.append((status.st_mtime_ns, name, status.st_size))
    left, size, gone = len(found), sum(length for *_, length in found), 0
    for _, name, length in sorted(found):
        if left <= bound.files and size <= bound.size:
            break
        share.remove(folder / name)
        left, size, gone = left - 1, size - length, gone + 1
    return gone
