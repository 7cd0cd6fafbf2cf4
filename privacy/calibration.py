"""The least noise with which a plan keeps the epsilon it promises."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

from privacy.accounting import COARSE, FINE, epsilon
from privacy.event_json import Event
from privacy.events import training_event
from protocol.errors import PrivacyError


@lru_cache(maxsize=256)
def calibrate(
    target: float,
    delta: float,
    sampling_rate: float,
    steps: int,
    silos_per_patient: int = 1,
    beside: tuple[Event, ...] = (),
) -> float:
    """Smallest noise multiplier of four significant digits with which `steps` steps cost at most epsilon `target` at `delta`.

    `beside` is what the same patient pays besides. Raises PrivacyError if no noise up to 10 000 clipping norms is enough.
    """

    def cost(sigma: float, interval: float) -> float:
        return epsilon([training_event(sigma, sampling_rate, steps, silos_per_patient), *beside], delta, interval)

    if not target > 0 or cost(_sigma(_LAST), FINE) > target:
        raise PrivacyError(f"no noise gives epsilon {target:g} at delta {delta:g} with {steps} steps; raise one or do fewer.")
    low, high = 0, _LAST
    while high - low > 1:  # on the coarse grid, which is quick and close
        middle = (low + high) // 2
        low, high = (middle, high) if cost(_sigma(middle), COARSE) > target else (low, middle)
    return _sigma(_smallest(lambda index: cost(_sigma(index), FINE), target, high))


_LAST = 54_000


def _sigma(index: int) -> float:
    """The numbers of four significant digits from 0.01 (index 0) to 10 000 (index _LAST), in order."""
    return float(f"{1000 + index % 9000}e{index // 9000 - 5}")


def _smallest(cost: Callable[[int], float], target: float, start: int) -> int:
    """Smallest index whose cost is at most `target`, for a falling cost; `start` should be near. Secant steps in the index."""
    low, high, index, slope = -1, _LAST, start, 0.0
    seen: tuple[int, float] | None = None
    while high - low > 1:
        excess = math.log(max(cost(index), 1e-300) / target)
        low, high = (low, index) if excess <= 0 else (index, high)
        if seen is not None and seen[0] != index:
            slope = (excess - seen[1]) / (index - seen[0])
        seen = (index, excess)
        ahead = math.ceil(-excess / slope) if slope < 0 else (5 if excess > 0 else -5)
        index = min(max(index + ahead, low + 1), high - 1)
    return high
