"""Every update of a round side by side: what an aggregation that compares silos needs in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from protocol.errors import UpdateError
from protocol.vectors import Vector

Rows = npt.NDArray[np.float64]
"""Some coordinates of every update, shape (silos, coordinates)."""

_VALUES = 1 << 20  # float64 values at a time: temporaries stay at some 8 MiB each, for any model and number of silos


class Stack:
    """Updates of shape (size,), one row a silo in the order of `silos`, so that the order of arrival changes nothing."""

    def __init__(self, silos: tuple[str, ...], size: int) -> None:
        self._row = {silo: row for row, silo in enumerate(silos)}
        self._values = np.empty((len(silos), size), dtype=np.float32)  # a row takes memory only once it is written
        self._came: set[str] = set()

    def add(self, silo: str, vector: Vector) -> None:
        """Take in one silo's update. Raises UpdateError if it has one already."""
        if silo in self._came:
            raise UpdateError("a second update in one round; it was not used.")
        self._values[self._row[silo]] = vector
        self._came.add(silo)

    @property
    def silos(self) -> tuple[str, ...]:
        """Whose updates are here, in the order of the rows."""
        return tuple(silo for silo in self._row if silo in self._came)

    def blocks(self) -> Iterator[tuple[slice, Rows]]:
        """All coordinates, some at a time: where they lie, and a copy of them in float64."""
        rows = [self._row[silo] for silo in self.silos]
        width = max(1, _VALUES // max(1, len(rows)))
        for start in range(0, self._values.shape[1], width):
            block = slice(start, start + width)
            yield block, self._values[rows, block].astype(np.float64)

    def reduce(self, rule: Callable[[Rows], npt.NDArray[np.float64]]) -> Vector:
        """One vector from a `rule` that takes (silos, coordinates) to (coordinates,)."""
        result = np.empty(self._values.shape[1], dtype=np.float32)
        for block, rows in self.blocks():
            result[block] = rule(rows)
        return result
