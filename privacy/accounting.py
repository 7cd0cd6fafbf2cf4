"""From privacy events to epsilon: for one patient added or removed, by privacy loss distributions and by Renyi divergences.

Epsilon for people is computed from privacy loss distributions (PLD; Koskela et al. 2020, Doroshenko et al. 2022), rounded up to
a grid, so it is an upper bound that is tight to about the grid's width. Renyi divergences (Mironov 2017) add up over mechanisms
that were chosen one after the other, which is what a budget over several studies needs (privacy.ledger.budget).

dp_accounting takes a second to import, so it is imported where it is used.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import numpy as np

from privacy.event_json import Event
from privacy.events import mechanisms
from protocol.errors import PrivacyError

FINE = 1e-4
"""Grid of the privacy loss (unitless, natural logarithm) for figures that people see."""
COARSE = 1e-3
_LARGE = 20.0
"""From about this epsilon on the grid grows with it: nobody needs the sixth digit, and a fine grid would fill the memory."""
_ENDLESS = 1e6
"""From about this epsilon on the Renyi bound is returned."""
_MOST_CHOICES = 81
ORDERS = (*range(2, 257), 512, 1024, 2048, 4096)
"""Renyi orders: whole numbers, for which the divergence is a finite sum without a series that may not converge."""


def epsilon(events: Iterable[Event], delta: float, interval: float = FINE) -> float:
    """Upper bound on epsilon at `delta` of all `events` together, under adding or removing one patient.

    `interval` is the grid of the privacy loss. Raises PrivacyError for a delta outside (0, 1).
    """
    _check_delta(delta)
    return _epsilon(_ordered(mechanisms(events)), delta, interval)


def renyi(events: Iterable[Event], order: float) -> float:
    """Renyi divergence of `order` (above 1) of all `events` together, under adding or removing one patient."""
    return math.fsum(count * _renyi(event, order) for event, count in mechanisms(events))


def renyi_to_epsilon(divergence: float, order: float, delta: float) -> float:
    """Epsilon at `delta` that follows from one order (Canonne, Kamath, Steinke 2020, proposition 12)."""
    return divergence + math.log1p(-1.0 / order) - math.log(delta * order) / (order - 1.0)


def epsilon_to_renyi(epsilon: float, order: float, delta: float) -> float:
    """The divergence of `order` from which exactly `epsilon` at `delta` follows; inverse of `renyi_to_epsilon`."""
    return epsilon - math.log1p(-1.0 / order) + math.log(delta * order) / (order - 1.0)


def worst_epsilon(studies: Sequence[Mapping[str, Sequence[Event]]], delta: float, interval: float = FINE) -> float:
    """Epsilon of the patient who paid most: each study maps its parts to their events, a patient stands in one part of each.

    All choices of parts are tried up to 81. Beyond that the smaller of two upper bounds is returned: everything added up, and
    the conversion of the sum over studies of the largest Renyi divergence over parts.
    """
    _check_delta(delta)
    choices = [_undominated([_ordered(mechanisms(events)) for events in study.values()]) for study in studies]
    choices = [choice for choice in choices if choice]
    if math.prod(len(choice) for choice in choices) > _MOST_CHOICES:
        together = _epsilon(_joined([part for choice in choices for part in choice]), delta, COARSE)
        sums = {order: math.fsum(max(_sum(part, order) for part in choice) for choice in choices) for order in ORDERS[:64]}
        return max(0.0, min(together, *(renyi_to_epsilon(total, order, delta) for order, total in sums.items())))
    joined = {_joined(pick) for pick in itertools.product(*choices)}
    # The coarse figure is an upper bound too, so a choice whose coarse figure is below another's fine one needs no fine one.
    ranked = sorted(((_epsilon(one, delta, COARSE), one) for one in joined), key=lambda pair: -pair[0])
    worst = 0.0
    for bound, one in ranked:
        if bound <= worst:
            break
        worst = max(worst, min(bound, _epsilon(one, delta, interval)))
    return worst


def _check_delta(delta: float) -> None:
    if not 0.0 < delta < 1.0:
        raise PrivacyError(f"delta {delta!r} is not between 0 and 1; use a number well below one over the number of patients.")


_Counts = tuple[tuple[Event, int], ...]


def _ordered(counts: Iterable[tuple[Event, int]]) -> _Counts:
    """The same mechanisms in an order that does not depend on how they came, so that equal compositions are one cache entry."""
    return tuple(sorted(counts, key=repr))


def _joined(parts: Iterable[_Counts]) -> _Counts:
    total: Counter[Event] = Counter()
    for part in parts:
        total.update(dict(part))
    return _ordered(total.items())


def _undominated(parts: Sequence[_Counts]) -> list[_Counts]:
    """The parts that are not contained in another one: fewer of the same mechanisms never cost more."""
    unique = [part for part in dict.fromkeys(parts) if part]
    counters = {part: Counter(dict(part)) for part in unique}
    return [one for one in unique if not any(one != other and counters[one] <= counters[other] for other in unique)]


def _sum(counts: _Counts, order: float) -> float:
    return math.fsum(count * _renyi(event, order) for event, count in counts)


@lru_cache(maxsize=4096)
def _epsilon(counts: _Counts, delta: float, interval: float) -> float:
    from dp_accounting import pld
    from dp_accounting.dp_event import SelfComposedDpEvent

    if not counts:
        return 0.0
    size = math.fsum(count * _mean_loss(event) for event, count in counts)
    if size > _ENDLESS:
        return max(0.0, min(renyi_to_epsilon(_sum(counts, order), order, delta) for order in (2, 3, 4, 8)))
    single = max(_mean_loss(getattr(event, "event", event)) for event, _ in counts)  # of a step, for whom it holds
    interval *= max(1.0, size / _LARGE, single / _LARGE)  # a wider grid is still an upper bound
    with np.errstate(all="ignore"):
        accountant = pld.PLDAccountant(value_discretization_interval=interval)
        for event, count in counts:
            accountant.compose(SelfComposedDpEvent(event, count))
        return float(accountant.get_epsilon(delta))


def _mean_loss(event: Event) -> float:
    """About the privacy loss of one mechanism, for choosing a grid: a Gaussian's mean loss is 1 / (2 sigma^2)."""
    inner: Event = getattr(event, "event", event)
    rate = getattr(event, "sampling_probability", 1.0)
    return float(rate * inner.noise_multiplier**-2 / 2 if hasattr(inner, "noise_multiplier") else inner.noise_parameter)


@lru_cache(maxsize=65536)
def _renyi(event: Event, order: float) -> float:
    from dp_accounting import rdp
    from dp_accounting.dp_event import DiscreteLaplaceDpEvent

    if isinstance(event, DiscreteLaplaceDpEvent):  # dp_accounting has no Renyi divergence for it
        return _renyi_of_two_losses(event.noise_parameter, order)
    with np.errstate(all="ignore"):
        accountant = rdp.RdpAccountant(orders=[order])
        accountant.compose(event)
        return float(accountant.rdp[0])


def _renyi_of_two_losses(pure: float, order: float) -> float:
    """Renyi divergence of a mechanism whose loss is +`pure` with odds e^pure and else -`pure`: the worst of all pure ones.

    log(q e^(a pure) + p e^(-a pure)) / (a - 1), with p = e^pure / (1 + e^pure) and q = 1 - p (Mironov 2017, proposition 5).
    """
    log_q = -np.logaddexp(0.0, pure)
    return float(np.logaddexp(log_q + order * pure, log_q + pure - order * pure)) / (order - 1.0)
