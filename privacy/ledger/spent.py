"""What has been paid, for people: epsilon of each study and of all together. A reading; privacy.ledger.budget decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from privacy.accounting import epsilon, worst_epsilon
from privacy.event_json import Event
from privacy.ledger.budget import by_job
from privacy.ledger.entry import Entry
from privacy.ledger.file import Ledger


@dataclass(frozen=True)
class Study:
    """One job's charges."""

    study: str
    plan: str
    job: str
    releases: Mapping[str, int]
    """Part to the number of releases."""
    events: Mapping[str, Sequence[Event]]
    epsilon: float
    """Of the part that paid most, at the delta asked for."""
    epsilon_by_part: Mapping[str, float]
    first: str
    last: str
    """When it charged, UTC."""


@dataclass(frozen=True)
class Spent:
    """Everything a ledger holds, at one delta."""

    delta: float
    epsilon: float
    """Of the patient who paid most over all studies together."""
    studies: tuple[Study, ...]


def spent_epsilon(ledger: Ledger, delta: float | None = None) -> Spent:
    """What the cohort has paid. Without `delta`, at the smallest delta of any plan, at which epsilon is largest."""
    if delta is None:
        delta = min((entry.delta for entry in ledger.entries), default=1e-6)
    jobs = by_job(ledger.entries)
    studies = []
    for job, events in jobs.items():
        entries = [entry for entry in ledger.entries if entry.job == job]
        studies.append(_study(entries, events, delta))
    return Spent(delta, worst_epsilon(list(jobs.values()), delta), tuple(studies))


def _study(entries: Sequence[Entry], events: Mapping[str, Sequence[Event]], delta: float) -> Study:
    costs = {part: epsilon(of_part, delta) for part, of_part in events.items()}
    return Study(
        study=entries[0].study,
        plan=entries[0].plan,
        job=entries[0].job,
        releases={part: len(of_part) for part, of_part in events.items()},
        events=events,
        epsilon=max(costs.values()),
        epsilon_by_part=costs,
        first=entries[0].at,
        last=entries[-1].at,
    )
