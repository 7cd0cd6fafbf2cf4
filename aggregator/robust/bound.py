"""The length of an update, and an update cut to a length."""

from __future__ import annotations

import math

import numpy as np

from protocol.vectors import Vector

_BLOCK = 1 << 20  # values at a time: the temporary stays at 8 MiB for any model


def length(vector: Vector) -> float:
    """The L2 norm, added up in float64: finite for every vector of finite float32 values."""
    squares = 0.0
    for start in range(0, vector.size, _BLOCK):
        block = vector[start : start + _BLOCK].astype(np.float64)
        squares += float(block @ block)
    return math.sqrt(squares)


def bounded(vector: Vector, bound: float) -> tuple[Vector, float]:
    """(`vector`, scaled down to an L2 norm of `bound` if it is longer; the norm it came with). Direction is kept.

    The norm bounding of Sun et al. 2019, "Can You Really Backdoor Federated Learning?".
    """
    norm = length(vector)
    if norm <= bound:
        return vector, norm
    shorter = np.empty_like(vector)
    for start in range(0, vector.size, _BLOCK):
        block = slice(start, start + _BLOCK)
        shorter[block] = vector[block].astype(np.float64) * (bound / norm)  # the factor may be too small for a float32
    return shorter, norm
