"""What the journal remembers of each round and phase: plain frozen records, stored as JSON."""

from __future__ import annotations

from msgspec import Struct

from protocol.messages import Description, PrivateDescription, PrivateScores, Receipt, Scores


class RoundRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """One round that was aggregated: who was configured, who trained, who was aggregated, and why others were not.

    Under a private plan `losses`, `proximals`, `steps` and `silo_seconds` are empty: they would say something of patients.
    `receipts` holds what each silo signed about its ledger; empty without one.
    """

    round: int
    attempt: int
    started_at: float
    seconds: float
    configured: tuple[str, ...]
    trained: tuple[str, ...]
    aggregated: tuple[str, ...]
    failures: dict[str, str]
    weights: dict[str, float]
    losses: dict[str, float]
    proximals: dict[str, float]
    steps: dict[str, int]
    silo_seconds: dict[str, float]
    update_norm: float
    model_digest: str
    receipts: dict[str, Receipt] = {}


class ScoresRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """One model scored on one part at every silo that could; `kind` and `split` as in the Score message."""

    round: int
    kind: str
    split: str
    at: float
    scores: dict[str, Scores | PrivateScores]
    failures: dict[str, str]


class RosterRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """Who is in the job: configured silos, what each said of its cohort, and why a silo could not."""

    configured: tuple[str, ...]
    descriptions: dict[str, Description | PrivateDescription]
    failures: dict[str, str]


class PhaseRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """A phase in which silos make something they keep: `alone` or `personalised`."""

    phase: str
    seconds: dict[str, float]
    failures: dict[str, str]
