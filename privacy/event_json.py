"""Privacy events as JSON: a strict list of mechanisms, so that an event means the same in every ledger and for ever."""

from __future__ import annotations

import math
from typing import Any

from protocol.errors import LedgerError

Event = Any
"""A `dp_accounting.DpEvent`; that library is imported where it is used, because that takes a second."""
MOST = 10**9
"""Repetitions of one event; more is a mistake, and would cost more than any budget."""
_DEEPEST = 16


def encode(event: Event) -> dict[str, Any]:
    """`event` as JSON types. Raises LedgerError for an event that is not on the list."""
    import dp_accounting as dpa
    from dp_accounting.dp_event import DiscreteLaplaceDpEvent

    match event:
        case dpa.NoOpDpEvent():
            value: dict[str, Any] = {"type": "no_op"}
        case dpa.GaussianDpEvent():
            value = {"type": "gaussian", "noise_multiplier": event.noise_multiplier}
        case DiscreteLaplaceDpEvent(sensitivity=1):
            value = {"type": "discrete_laplace", "epsilon": event.noise_parameter}
        case dpa.PoissonSampledDpEvent():
            value = {
                "type": "poisson_sampled",
                "sampling_probability": event.sampling_probability,
                "event": encode(event.event),
            }
        case dpa.SelfComposedDpEvent():
            value = {"type": "self_composed", "count": event.count, "event": encode(event.event)}
        case dpa.ComposedDpEvent():
            value = {"type": "composed", "events": [encode(one) for one in event.events]}
        case _:
            raise LedgerError(f"{type(event).__name__} is not an event the ledger can hold (privacy/events.py lists them).")
    decode(value)  # what cannot be read back is not written
    return value


def decode(value: object) -> Event:
    """The event in `value`. Raises LedgerError for anything unknown, superfluous or out of range."""
    return _decode(value, _DEEPEST)


def _decode(value: object, depth: int) -> Event:
    import dp_accounting as dpa
    from dp_accounting.dp_event import DiscreteLaplaceDpEvent

    if depth == 0:
        raise LedgerError("a privacy event is nested too deeply; it was not written by fedward.")
    match value:
        case {"type": "no_op", **rest} if not rest:
            return dpa.NoOpDpEvent()
        case {"type": "gaussian", "noise_multiplier": sigma, **rest} if not rest:
            return dpa.GaussianDpEvent(_number(sigma, "noise_multiplier", 1e6))
        case {"type": "discrete_laplace", "epsilon": epsilon, **rest} if not rest:
            return DiscreteLaplaceDpEvent(_number(epsilon, "epsilon", 1e4), 1)
        case {"type": "poisson_sampled", "sampling_probability": rate, "event": {"type": "gaussian"} as inner, **rest} if (
            not rest
        ):
            return dpa.PoissonSampledDpEvent(_number(rate, "sampling_probability", 1.0), _decode(inner, depth - 1))
        case {"type": "self_composed", "count": int(count), "event": inner, **rest} if not rest and _is_count(count):
            return dpa.SelfComposedDpEvent(_decode(inner, depth - 1), count)
        case {"type": "composed", "events": [*inner], **rest} if not rest:
            return dpa.ComposedDpEvent([_decode(one, depth - 1) for one in inner])
        case _:
            kind = value.get("type") if isinstance(value, dict) else value
            raise LedgerError(f"a privacy event of type {kind!r} is not known, or not with these values: {value!r}.")


def _is_gaussian(value: object) -> bool:
    return isinstance(value, dict) and value.get("type") == "gaussian"


def _is_count(count: int) -> bool:
    return not isinstance(count, bool) and 1 <= count <= MOST * 16


def _number(value: object, name: str, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not 0 < value <= most:
        raise LedgerError(f"a privacy event has {name} {value!r}; it must be a number above 0 and at most {most:g}.")
    return float(value)
