"""What a job tells those who watch it: the terminal, MLflow, a test. Watching changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aggregator.records import AuditRecord, PhaseRecord, RosterRecord, RoundRecord, ScoresRecord
from evaluation.audit.layout import AuditLayout
from protocol.plan import Plan


@dataclass(frozen=True, slots=True)
class JobOpened:
    """The job is ready; `committed` rounds were done before (0 unless it is resumed)."""

    job: str
    plan: Plan
    roster: RosterRecord
    committed: int


@dataclass(frozen=True, slots=True)
class StepStarted:
    """Something begins that asks `silos`: "round 3", "validation", "alone", "personalised", "test"."""

    name: str
    round: int
    silos: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SiloAnswered:
    """One silo answered, or did not (`failure`)."""

    step: str
    silo: str
    failure: str | None


@dataclass(frozen=True, slots=True)
class RoundCommitted:
    """A round is durable. `replayed`: it was so before this process began.

    `record.rejected` says why it does not stand, if so. A round that a later validation rejects is told a second time.
    """

    record: RoundRecord
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Scored:
    """One model was scored on one part at every silo that could."""

    record: ScoresRecord
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Audited:
    """The final model's test was broken down by group, or there is a reason why not. `layout`: what the counts stand for."""

    record: AuditRecord
    layout: AuditLayout
    plan: Plan
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class PhaseDone:
    """Every silo has made its local-only or personalised model, or said why not."""

    record: PhaseRecord


Event = JobOpened | StepStarted | SiloAnswered | RoundCommitted | Scored | Audited | PhaseDone
Observer = Callable[[Event], None]
