"""The only way out of the hospital: a few typed releases, each checked before it becomes bytes; unknown means refused.

Each release is checked against the request it answers, the plan, the hospital's policy and - under a private plan - the
ledger: what it costs is charged, durably, before anything of it is drawn. No other module of silo_node makes bytes to send (a
test reads the imports of all of them).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgspec
import numpy as np

from privacy.guarantee import Guarantee
from privacy.randomness import SecureBits
from protocol.errors import GateError, SiloError
from protocol.messages import (
    Address,
    Advertised,
    Description,
    Done,
    MaskedUpdate,
    PrivateDescription,
    PrivateScores,
    PrivateUpdate,
    Receipt,
    Refusal,
    Release,
    Revealed,
    Scores,
    Shared,
    Update,
    Vouched,
    encode,
)
from protocol.plan import Plan
from protocol.plan.privacy import PatientPrivacy
from protocol.vectors import Layout, from_wire
from silo_node.account import Account
from silo_node.charges import Charge, round_charge, scores_charge
from silo_node.outbox import Outbox
from silo_node.policy import Policy

UNSIGNED = Receipt(cohort="", entries=0, head="", public_key=b"", signature=b"")
"""Stands in a private release until the gate has charged it."""

_OPEN = (Description, Update, Scores, Done, Refusal)
_PRIVATE = (PrivateDescription, PrivateUpdate, PrivateScores, Refusal)
_SECURE = (Advertised, Shared, MaskedUpdate, Vouched, Revealed)
_READABLE = (Update, PrivateUpdate)  # what secure aggregation keeps back

# Reasons of these errors are made of the plan, the policy and fixed words. Those of others may hold a count or a size of the
# cohort: under a private plan they stay in the silo's own log. A NetworkError is the plan's own there: what fails on an image
# leaves that image out (silo_node/training/cohort.py) or adds zero (privacy/step.py).
_SPEAKABLE = frozenset(
    {
        "AggregationError",
        "BudgetError",
        "DeadlineError",
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
_WITHHELD = "Withheld"  # not even the kind of error
_SILENT = "the reason may say something of patients; under a private plan it stays in the silo's own log."


@dataclass(frozen=True)
class Passage:
    """What the gate needs to know of a job. `guarantee` is None for a plan without differential privacy."""

    job: str
    plan: Plan
    guarantee: Guarantee | None
    layout: Layout
    masked_size: int = 0
    """Number of values in a masked update; 0 without secure aggregation."""


class Gate:
    """One hospital's way out. `account` charges the ledger of the cohort; `policy` is the hospital's own word."""

    def __init__(self, policy: Policy, account: Account) -> None:
        self._policy, self._account = policy, account

    def admit(self, plan: Plan, guarantee: Guarantee | None, job: str) -> None:
        """Raises PolicyError if the hospital does not allow `plan`, BudgetError if its patients cannot afford it."""
        self._policy.admit(plan, guarantee)
        if guarantee is not None:
            self._account.admit(job, guarantee)

    def admit_cohort(self, n_patients: int) -> None:
        """Raises PolicyError if the hospital does not allow any study on so small a cohort."""
        self._policy.admit_cohort(n_patients)

    def pay(self, passage: Passage, charge: Charge, outbox: Outbox, request: str) -> SecureBits:
        """Charge for a release before anything of it is drawn; returns what it must be drawn from.

        An attempt is paid for whatever comes of it. One that was interrupted goes on from the same secret. Raises BudgetError,
        LedgerError, and SiloError if it was charged and its secret is gone: a second sample would be a second charge.
        """
        if charge.part != "train":
            self._refuse_scores(noised=True)
        key = outbox.key(charge.release, request)
        paid = self._account.paid(passage.job, charge)
        if key is None and paid:
            raise SiloError(
                f"{charge.release} was charged before and nothing of it is kept here; a second sample would be a second "
                "charge, which the plan does not foresee. Start a new job."
            )
        if not paid and charge.part == "train":
            steps = passage.guarantee.steps // passage.guarantee.steps_per_round if passage.guarantee else 0
            if self._account.rounds_paid(passage.job) >= steps:
                raise SiloError(
                    f"every round that the plan pays for was charged; {charge.release} would be one more. With "
                    "privacy.spare_rounds a plan pays for repeated rounds in advance."
                )
        if key is None:
            key = outbox.new_key(charge.release, request)
        if not paid:
            self._account.charge(passage.plan, passage.job, charge)
        return SecureBits.from_key(key)

    def refuse(self, refusal: Refusal, plan: Plan | None) -> bytes:
        """A refusal's bytes. Unless the plan is known and open, a reason that may hold counts is left out."""
        silent = plan is None or plan.privacy.mechanism != "none"
        if silent and refusal.error not in _SPEAKABLE:
            refusal = msgspec.structs.replace(refusal, error=_WITHHELD, reason=_SILENT)
        return encode(refusal)

    def release(self, message: Release, address: Address, passage: Passage) -> bytes:
        """The bytes of `message` if it may leave in answer to `address`; what it costs must have been paid.

        Raises GateError if it is not a release of this kind of plan, or the ledger holds no charge for it.
        """
        allowed: tuple[type, ...] = _OPEN if passage.guarantee is None else _PRIVATE
        if passage.masked_size:
            allowed = tuple(kind for kind in (*allowed, *_SECURE) if kind not in _READABLE)
        if not isinstance(message, allowed):
            raise GateError(f"{type(message).__name__} is not a release of this plan that the gate knows; nothing left.")
        if message.address != address or address.job != passage.job or address.plan_digest != passage.plan.digest:
            raise GateError("the release answers another request than the one at hand; nothing left.")
        if isinstance(message, Refusal):
            return self.refuse(message, passage.plan)
        if isinstance(message, Update | PrivateUpdate):
            _check_delta(message.delta, passage.layout)
        if isinstance(message, Update):
            _check_finite([message.loss, message.proximal], "update")
        if isinstance(message, Scores | PrivateScores):
            self._check_scores(message)
        if isinstance(message, MaskedUpdate):
            if len(message.masked) * 8 != passage.masked_size * plan_width(passage.plan):
                raise GateError("the masked update has another length than the plan's network; nothing left.")
            if passage.guarantee is not None:
                message = msgspec.structs.replace(message, receipt=self._paid(message, passage))
        if isinstance(message, PrivateUpdate | PrivateScores):
            message = msgspec.structs.replace(message, receipt=self._paid(message, passage))
        return encode(message)

    def _paid(self, message: PrivateUpdate | MaskedUpdate | PrivateScores, passage: Passage) -> Receipt:
        plan, guarantee = passage.plan, passage.guarantee
        if guarantee is None or not isinstance(plan.privacy, PatientPrivacy):
            raise GateError("a private release of a plan without privacy; nothing left.")
        if isinstance(message, PrivateUpdate | MaskedUpdate):
            charge = round_charge(plan, plan.privacy, guarantee, message.address.round, message.address.attempt)
        else:
            charge = scores_charge(plan, plan.privacy, message.address.round, message.kind, message.split)
            expected = len(message.classes) / plan.privacy.metrics_epsilon
            if message.epsilon != plan.privacy.metrics_epsilon or not math.isclose(message.scale, expected):
                raise GateError("the scores were not noised as the plan says; nothing left.")
        if not self._account.paid(passage.job, charge):
            raise GateError(f"{charge.release} was never charged; nothing left.")
        return self._account.receipt()

    def _refuse_scores(self, *, noised: bool) -> None:
        order = ("none", "noised", "exact")
        if order.index(self._policy.scores) < order.index("noised" if noised else "exact"):
            kind = "noised" if noised else "exact"
            raise GateError(f"this hospital's policy lets no {kind} scores leave (scores: {self._policy.scores}).")

    def _check_scores(self, scores: Scores | PrivateScores) -> None:
        self._refuse_scores(noised=isinstance(scores, PrivateScores))
        if isinstance(scores, Scores):
            numbers = [scores.loss, scores.accuracy]
            for one in scores.classes:
                numbers += [x for x in (one.auroc, one.auroc_variance, one.covariance_with_alone) if x is not None]
            _check_finite(numbers, "scores")


def plan_width(plan: Plan) -> int:
    """Bits of one masked value."""
    return plan.privacy.width_bits


def _check_delta(wire: memoryview, layout: Layout) -> None:
    delta = from_wire(wire)
    if delta.size != layout.size:
        raise GateError("the update has another length than the plan's network; nothing left.")
    if not np.isfinite(delta).all():
        raise GateError("the update holds a value that is not finite; nothing left. Lower training.optimizer.lr.")


def _check_finite(numbers: list[float], what: str) -> None:
    if not all(math.isfinite(number) for number in numbers):
        raise GateError(f"the {what} holds a value that is not finite; nothing left. The model may have diverged.")
