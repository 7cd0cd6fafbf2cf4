"""What makes a lung look like a lung: vessels that fan out from the hilum, and clutter at every scale."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from fedward.demo.phantoms.anatomy import Frame
from fedward.demo.phantoms.build import Array

_ANGLES, _RADII = 96, 20


def vessels(rng: np.random.Generator, at: Frame) -> Array:
    """Return branching shadows, cm of water: noise drawn in polar coordinates round each hilum, so that it streams outwards."""
    n = len(at.x)
    # Each ring follows the one inside it with a little wandering: lines that branch and fade.
    rings = np.empty((n, 2, _RADII, _ANGLES), np.float32)
    rings[:, :, 0] = rng.standard_normal((n, 2, _ANGLES), dtype=np.float32)
    for ring in range(1, _RADII):
        fresh = rng.standard_normal((n, 2, _ANGLES), dtype=np.float32)
        rings[:, :, ring] = np.float32(0.86) * rings[:, :, ring - 1] + np.float32(0.51) * fresh
    left = at.x > 0
    x = np.abs(at.x) - np.float32(0.16)
    y = at.y + np.float32(0.05)
    radius = np.sqrt(x * x + y * y)
    ring_index = np.minimum(radius * np.float32(_RADII / 0.9), _RADII - 1).astype(np.int32)
    angle_index = ((np.arctan2(y, x) / np.float32(2 * np.pi) + np.float32(0.5)) * _ANGLES).astype(np.int32) % _ANGLES
    flat = (left * _RADII + ring_index) * _ANGLES + angle_index
    drawn = np.take_along_axis(rings.reshape(n, -1), flat.reshape(n, -1), axis=1).reshape(at.x.shape)
    shadows: Array = np.clip(drawn - np.float32(0.35), 0, None) * np.exp(np.float32(-2.6) * radius)
    return shadows


def clutter(rng: np.random.Generator, n: int, rows: int, columns: int) -> Array:
    """Return smooth noise with the falling spectrum of anatomy, standard deviation about 1."""
    total = np.zeros((n, rows, columns), np.float32)
    for cells, weight in ((6, 0.75), (12, 0.5), (24, 0.35)):
        grid = rng.standard_normal((n, cells, cells), dtype=np.float32)
        across = np.einsum("nij,cj->nic", grid, _spread(cells, columns))
        # einsum, not @: on so small a product the threads of a BLAS cost more than they bring on a busy machine.
        total += np.float32(weight) * np.einsum("ri,nic->nrc", _spread(cells, rows), across)
    return total


@lru_cache(maxsize=32)
def _spread(cells: int, length: int) -> Array:
    """Interpolate `cells` random values to `length` pixels with Gaussian bumps; rows have unit norm, to keep the variance."""
    centres = (np.arange(cells) + 0.5) / cells
    pixels = (np.arange(length) + 0.5) / length
    weights = np.exp(-0.5 * ((pixels[:, None] - centres) * cells / 0.7) ** 2)
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    return weights.astype(np.float32)
