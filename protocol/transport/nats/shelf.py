"""Memory for large messages, used again as soon as nothing looks at it any more.

Fresh memory costs more than what is done with it here: the kernel clears every page, which takes longer than to decrypt it.
"""

from __future__ import annotations

import mmap

LARGE = 1 << 16
"""Bytes from which on a message has memory of its own; smaller ones come and go as Python likes."""


class Shelf:
    """Keeps up to `places` blocks, none of them much larger than what was last asked for."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._kept: list[mmap.mmap] = []

    def take(self, size: int) -> memoryview:
        """A view of `size` bytes with anything in them. Raises MemoryError."""
        self._kept = [one for one in self._kept if size <= len(one) <= 2 * max(size, LARGE) or not _free(one)]
        found = next((one for one in self._kept if len(one) >= size and _free(one)), None)
        if found is None:
            found = _room(max(1, -(-size // LARGE)) * LARGE)  # chunks differ by a few bytes of their headers
            self._kept = [*self._kept, found][-self._places :]
        return memoryview(found)[:size]

    def clear(self) -> None:
        """Keep nothing."""
        self._kept.clear()


def _room(size: int) -> mmap.mmap:
    """So much memory; the kernel gives its pages as they are written, so a claim alone takes none."""
    try:
        return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(str(error)) from error


def _free(one: mmap.mmap) -> bool:
    try:
        one.resize(len(one))  # refused while a view of it lives anywhere: what somebody reads is never written over
    except BufferError:
        return False
    return True
