"""The weighted mean of updates, added up as they come: one vector in memory, however many silos."""

from __future__ import annotations

import numpy as np

from protocol.errors import UpdateError
from protocol.vectors import Vector

_BLOCK = 1 << 20  # values at a time: the temporary stays at 8 MiB for any model


class WeightedMean:
    """Sum of weight * vector in float64, divided once at the end."""

    def __init__(self, size: int) -> None:
        self._sum = np.zeros(size, dtype=np.float64)
        self._weight = 0.0

    def add(self, vector: Vector, weight: float) -> None:
        """Add one silo's vector. Raises UpdateError if the weight is negative or not finite."""
        if not (np.isfinite(weight) and weight >= 0.0):
            raise UpdateError(f"a weight of {weight} cannot be used.")
        for start in range(0, self._sum.size, _BLOCK):
            block = slice(start, start + _BLOCK)
            self._sum[block] += np.float64(weight) * vector[block]
        self._weight += weight

    def result(self) -> Vector:
        """The mean as float32; the sum is gone afterwards. Raises UpdateError if all weights were zero."""
        if self._weight <= 0.0:
            raise UpdateError("all weights are zero: no silo has an image that federation.weighting counts.")
        # Into the front half of its own memory, whose other half is given back: a mean beside its sum would be half as much
        # again. A block is read before it is written over: what it becomes is half as long and starts no later.
        size, memory = self._sum.size, self._sum
        mean = memory.view(np.float32)
        for start in range(0, size, _BLOCK):
            block = slice(start, min(start + _BLOCK, size))
            mean[block] = memory[block] / self._weight
        del mean
        self._sum = np.empty(0)
        memory.resize((size + 1) // 2, refcheck=False)  # no view of it is left
        return memory.view(np.float32)[:size]
