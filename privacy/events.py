"""Privacy events: what a release did to the patients of one part of a study, as dp_accounting's `DpEvent`s.

The truth of the accounting is the list of events; every epsilon is computed from it. Only four mechanisms are known, alone or
composed: the Gaussian mechanism, the same on a Poisson sample, discrete Laplace noise on a count, and nothing at all.

Discrete Laplace noise on counts to which a patient adds one vote (L1 sensitivity 1) has a privacy loss of exactly +epsilon or
-epsilon, like randomised response. It must never be booked as dp_accounting's `LaplaceDpEvent`: the loss of continuous
Laplace noise also takes the values in between, so that many releases together would be charged too little.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from privacy.event_json import MOST, Event, decode, encode
from protocol.errors import LedgerError, PrivacyError


def training_event(noise_multiplier: float, sampling_rate: float, steps: int, silos_per_patient: int = 1) -> Event:
    """`steps` noised sums of clipped gradients, each over a Poisson sample of rate `sampling_rate` (1: every patient).

    `noise_multiplier` is in units of the clipping norm. A patient at k hospitals is in k independent mechanisms.
    Raises PrivacyError if a number is out of range.
    """
    import dp_accounting as dpa

    step = dpa.GaussianDpEvent(noise_multiplier)
    if sampling_rate != 1.0:
        step = dpa.PoissonSampledDpEvent(sampling_rate, step)
    return _repeated(step, steps, silos_per_patient)


def metric_event(epsilon: float, count: int = 1, silos_per_patient: int = 1) -> Event:
    """`count` histograms with discrete Laplace noise, one vote a patient, each with pure `epsilon`. Raises PrivacyError.

    Also where a patient votes in several histograms of one release, of several classes or groups, and the noise is as many
    times as wide: nothing of pure epsilon loses more than what is booked here (Kairouz, Oh & Viswanath 2015).
    """
    from dp_accounting.dp_event import DiscreteLaplaceDpEvent

    return _repeated(DiscreteLaplaceDpEvent(epsilon, 1), count, silos_per_patient)


def together(*events: Event) -> Event:
    """Several releases about the same patients, as one event; of one the event itself. Raises PrivacyError without any."""
    import dp_accounting as dpa

    if not events:
        raise PrivacyError("no event is not an event; leave the part out.")
    return events[0] if len(events) == 1 else dpa.ComposedDpEvent(list(events))


def unproven_event(noise_multiplier: float, participations: int, silos_per_patient: int = 1) -> Event:
    """Steps whose sampling was not proven to be Poisson: a full Gaussian for each step a patient can be in."""
    return training_event(noise_multiplier, 1.0, participations, silos_per_patient)


def mechanisms(events: Iterable[Event]) -> tuple[tuple[Event, int], ...]:
    """How often each single mechanism occurs in `events`, in the order of first occurrence. Raises LedgerError."""
    counts: Counter[Event] = Counter()
    for event in events:
        _count(encode(event), 1, counts)
    return tuple(counts.items())


def _repeated(event: Event, count: int, silos_per_patient: int) -> Event:
    import dp_accounting as dpa

    for name, number in (("count", count), ("silos_per_patient", silos_per_patient)):
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= MOST:
            raise PrivacyError(f"{name}: {number!r} is not a whole number from 1 to {MOST}.")
    try:
        repeated = dpa.SelfComposedDpEvent(event, count * silos_per_patient)
        encode(repeated)
    except LedgerError as error:
        raise PrivacyError(str(error)) from error
    return repeated


def _count(value: Mapping[str, Any], times: int, counts: Counter[Event]) -> None:
    match value["type"]:
        case "no_op":
            return
        case "self_composed":
            _count(value["event"], times * value["count"], counts)
        case "composed":
            for one in value["events"]:
                _count(one, times, counts)
        case _:
            counts[decode(value)] += times
