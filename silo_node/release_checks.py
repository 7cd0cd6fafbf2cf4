"""What the gate holds a release against: its kind, its request, its shape and its values. Nothing here makes bytes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from evaluation.audit.layout import AuditLayout
from evaluation.audit.sums import COUNTS, check_counts
from privacy.guarantee import Guarantee
from privacy.secure_aggregation.agreement import COUNT_BITS
from protocol.compression import decompress
from protocol.errors import EvaluationError, GateError, UpdateError
from protocol.messages import (
    Address,
    Advertised,
    AuditCounts,
    Delivered,
    Description,
    Done,
    MaskedScores,
    MaskedUpdate,
    PrivateDescription,
    PrivateScores,
    PrivateUpdate,
    Refusal,
    Release,
    Revealed,
    Scores,
    Shared,
    Update,
    Vouched,
)
from protocol.plan import Plan
from protocol.secure_aggregation import AUDIT, UPDATE
from protocol.vectors import Layout
from silo_node.asked_checks import check_asked

_OPEN = (Description, Update, Scores, Done, Refusal)
_PRIVATE = (PrivateDescription, PrivateUpdate, PrivateScores, Refusal)
_PHASES = (Advertised, Shared, Delivered, Vouched, Revealed)
_READABLE = (Update, PrivateUpdate)  # what secure aggregation keeps back
_READABLE_SCORES = (Scores, PrivateScores)  # what evaluation.scores: summed keeps back

# Reasons of these errors are made of the plan, the policy and fixed words. Those of others may hold a count or a size of the
# cohort: under a private plan they stay in the silo's own log. A NetworkError is the plan's own there: what fails on an image
# leaves that image out (silo_node/training/cohort.py) or adds zero (privacy/step.py).
SPEAKABLE = frozenset(
    {
        "AggregationError",
        "ApprovalError",
        "BudgetError",
        "DeadlineError",
        "EvidenceError",
        "GateError",
        "LedgerError",
        "LedgerRolledBackError",
        "MessageError",
        "NetworkError",
        "PlanError",
        "PolicyError",
        "SiloError",
        "WeightsError",
    }
)
WITHHELD = "Withheld"  # not even the kind of error
SILENT = "the reason may say something of patients; under a private plan it stays in the silo's own log."


@dataclass(frozen=True)
class Passage:
    """What the gate needs to know of a job. `guarantee` is None for a plan without differential privacy."""

    job: str
    plan: Plan
    guarantee: Guarantee | None
    layout: Layout
    masked_size: int = 0
    """Number of values in a masked update; 0 without secure aggregation."""
    counts_size: int = 0
    """Number of counts in a masked scoring; 0 where scores leave singly."""
    audit: AuditLayout | None = None
    """What the counts of the audit stand for; None if the plan asks for none."""


def check_kind(message: Release, address: Address, passage: Passage) -> None:
    """Raises GateError unless `message` is a release of this kind of plan, in answer to `address`."""
    if not isinstance(message, _allowed(address.purpose, passage)):
        raise GateError(f"{type(message).__name__} is not a release of this plan that the gate knows; nothing left.")
    if message.address != address or address.job != passage.job or address.plan_digest != passage.plan.digest:
        raise GateError("the release answers another request than the one at hand; nothing left.")


def _allowed(purpose: str, passage: Passage) -> tuple[type, ...]:
    """The releases of this kind of plan that may answer a message of this purpose."""
    if purpose == AUDIT:
        counts: tuple[type, ...] = (*_PHASES, MaskedScores) if passage.masked_size else (AuditCounts,)
        return (*counts, Refusal) if passage.audit is not None else (Refusal,)
    if purpose != UPDATE:
        return (*_PHASES, MaskedScores, Refusal) if passage.counts_size else (Refusal,)
    allowed: tuple[type, ...] = _OPEN if passage.guarantee is None else _PRIVATE
    if passage.masked_size:
        allowed = tuple(kind for kind in (*allowed, *_PHASES, MaskedUpdate) if kind not in _READABLE)
    if passage.counts_size:
        allowed = tuple(kind for kind in allowed if kind not in _READABLE_SCORES)
    return allowed


def check_values(message: Release, passage: Passage) -> None:
    """Raises GateError if a vector has another length than the network's, or a number is not finite, or counts are none."""
    if isinstance(message, Update | PrivateUpdate):
        _check_delta(message.delta, passage)
    if isinstance(message, Update):
        _check_finite([message.loss, message.proximal, message.work], "update")
    if isinstance(message, Scores):
        numbers = [message.loss, message.accuracy]
        for one in message.classes:
            numbers += [x for x in (one.auroc, one.auroc_variance, one.covariance_with_alone) if x is not None]
        _check_finite(numbers, "scores")
    if isinstance(message, Update | Scores):
        check_asked(message, passage.plan)
    if isinstance(message, MaskedUpdate) and len(message.masked) * 8 != passage.masked_size * passage.plan.privacy.width_bits:
        raise GateError("the masked update has another length than the plan's network; nothing left.")
    if isinstance(message, MaskedScores) and len(message.masked) * 8 != _masked_counts(message, passage) * COUNT_BITS:
        raise GateError("the masked scores have another length than the plan's; nothing left.")
    if isinstance(message, AuditCounts) and passage.audit is not None:
        _check_audit(message.counts, passage.audit)


def _masked_counts(message: MaskedScores, passage: Passage) -> int:
    if message.address.purpose != AUDIT:
        return passage.counts_size
    return passage.audit.size if passage.audit is not None else 0


def _check_audit(wire: memoryview, layout: AuditLayout) -> None:
    """The very numbers that leave are counts by group that fit together; noised ones have the right number."""
    if wire.nbytes != layout.size * COUNTS.itemsize:
        raise GateError("the counts of the audit have another length than the plan's; nothing left.")
    try:
        check_counts(layout, np.frombuffer(wire, dtype=COUNTS), layout.sites)
    except EvaluationError as error:
        raise GateError(f"what was to leave as the counts of the audit is none: {error} Nothing left.") from error


def _check_delta(wire: memoryview, passage: Passage) -> None:
    """What the aggregator will read from the bytes is what is looked at."""
    try:
        delta = decompress(passage.plan.federation.compression, wire, passage.layout.size)
    except UpdateError as error:
        raise GateError("the update has another length than the plan's network, or another form; nothing left.") from error
    if not np.isfinite(delta).all():
        raise GateError("the update holds a value that is not finite; nothing left. Lower training.optimizer.lr.")


def _check_finite(numbers: list[float], what: str) -> None:
    if not all(math.isfinite(number) for number in numbers):
        raise GateError(f"the {what} holds a value that is not finite; nothing left. The model may have diverged.")
