"""What chance alone does to the largest difference between groups, and to many tests at once.

Between groups that do not differ, the largest figure is still above the smallest, the more so the smaller and the more numerous
the groups are: 10 hospitals of 50 positives each, all of AUROC 0.85, are 0.09 apart on average.

Sources
    range of independent normal figures: Tukey 1953; unequal variances: Kramer, Biometrics 1956;12:307-310; that this is on
        the safe side: Hayter, Annals of Statistics 1984;12:61-75.
    many tests: Holm, Scandinavian Journal of Statistics 1979;6:65-70.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

_DRAWS = 16384  # the mean of so many ranges is known to 0.4%
_SEED = 20261121  # fixed: an auditor computes the very same figure again
_FAR = 9.0  # standard deviations beyond which nothing is left of a normal density
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(256)
_HALVINGS = 60

Array = NDArray[np.float64]


def null_gap(*families: Sequence[float]) -> float:
    """Mean of largest minus smallest figure of groups that do not differ; their standard errors (k,), in any order.

    With several families, which are independent: the mean of the largest of their gaps.
    """
    gaps = [np.ptp(_normals(family, len(errors)) * np.sort(errors)[:, None], axis=0) for family, errors in enumerate(families)]
    return float(np.max(gaps, axis=0).mean())


@lru_cache(maxsize=64)
def _normals(family: int, k: int) -> Array:
    """(k, draws) standard normal numbers; through uniform ones, whose stream numpy has never changed."""
    uniform = np.random.default_rng([_SEED, family, k]).random((k, _DRAWS))
    numbers: Array = ndtri(np.clip(uniform, 1e-12, 1.0 - 1e-12))
    numbers.setflags(write=False)
    return numbers


def range_p(z: float, k: int) -> float:
    """Chance that some two of `k` groups that do not differ are at least `z` standard errors of their difference apart.

    Exact where all have the same standard error: P(range > q) = 1 - k * integral of phi(x) (Phi(x + q) - Phi(x))^(k - 1), with
    q = z * sqrt(2). Elsewhere the true chance is smaller.
    """
    q = z * 2.0**0.5
    x = _FAR * _NODES
    density = np.exp(-0.5 * x * x) / (2.0 * np.pi) ** 0.5
    inside = k * _FAR * float((_WEIGHTS * density * (ndtr(x + q) - ndtr(x)) ** (k - 1)).sum())
    return min(1.0, max(0.0, 1.0 - inside))


@lru_cache(maxsize=256)
def range_z(k: int, alpha: float = 0.05) -> float:
    """The `z` of which `range_p` gives `alpha`: 1.96 for two groups, 3.16 for ten."""
    low, high = 0.0, _FAR
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if range_p(middle, k) > alpha else (low, middle)
    return high


def holm(p_values: Sequence[float]) -> list[float]:
    """Each p-value adjusted for all of them; at most `alpha`: the chance of any such among true nulls is at most `alpha`."""
    order = sorted(range(len(p_values)), key=lambda one: p_values[one])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, one in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[one]))
        adjusted[one] = largest
    return adjusted
