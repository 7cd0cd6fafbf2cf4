"""The rules themselves: pure functions of (silos, coordinates) arrays. None of them knows who sent a row."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from aggregator.robust.stack import Rows

Values = npt.NDArray[np.float64]


def median(rows: Rows) -> Values:
    """The median of every coordinate; of an even number of rows the mean of the middle two (Yin et al. 2018)."""
    found: Values = np.median(rows, axis=0)
    return found


def trimmed_mean(rows: Rows, trim: float) -> Values:
    """The mean of every coordinate without the floor(trim * silos) smallest and as many largest (Yin et al. 2018)."""
    count = len(rows)
    cut = min(int(trim * count + 1e-9), (count - 1) // 2)  # 0.29 * 100 is 28.999... in floats and means 29
    ordered = np.sort(rows, axis=0)[cut : count - cut]
    found: Values = ordered.mean(axis=0)
    return found


def squared_distances(blocks: Iterable[Rows], count: int) -> Values:
    """Squared L2 distances between `count` updates, shape (count, count), added up over blocks of coordinates.

    From differences, not from inner products: these lose all digits where one update is far longer than the others.
    """
    total = np.zeros((count, count))
    for rows in blocks:
        for index in range(count - 1):
            apart = rows[index + 1 :] - rows[index]
            total[index, index + 1 :] += np.einsum("ij,ij->i", apart, apart)
    return total + total.T


def krum(distances: Values, byzantine: int, keep: int) -> list[int]:
    """Rows of the `keep` updates with the lowest Krum score, in ascending order (Blanchard et al. 2017).

    An update's score is the sum of its squared distances to its n - f - 2 nearest others. Equal scores: the first row wins.
    """
    count = len(distances)
    others = distances + np.diag(np.full(count, np.inf))
    nearest = np.sort(others, axis=1)[:, : max(1, count - byzantine - 2)]
    chosen = np.argsort(nearest.sum(axis=1), kind="stable")[:keep]
    return sorted(int(row) for row in chosen)
