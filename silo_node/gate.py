"""The only way out of the hospital: a few typed releases, each checked before it becomes bytes; unknown means refused.

Each release is checked against the request it answers, the plan, the hospital's policy and - under a private plan - the
ledger: what it costs is charged, durably, before anything of it is drawn. No other module of silo_node makes bytes to send (a
test reads the imports of all of them).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import msgspec

from privacy.guarantee import Guarantee
from privacy.randomness import SecureBits
from protocol.errors import GateError, SiloError
from protocol.messages import (
    Address,
    AuditCounts,
    Cosigned,
    MaskedScores,
    MaskedUpdate,
    PrivateScores,
    PrivateUpdate,
    Receipt,
    Receipts,
    Refusal,
    Release,
    Scores,
    encode,
)
from protocol.plan import Plan
from protocol.plan.privacy import PatientPrivacy
from protocol.secure_aggregation import AUDIT, UPDATE, scoring_of
from silo_node.account import Account
from silo_node.charges import Charge, audit_charge, round_charge, scores_charge
from silo_node.cohort import CohortStore
from silo_node.memory import admit_images
from silo_node.outbox import Outbox
from silo_node.policy import Policy
from silo_node.release_checks import SILENT, SPEAKABLE, WITHHELD, Passage, check_kind, check_values
from silo_node.witness import Witness

Charged = PrivateUpdate | MaskedUpdate | MaskedScores | AuditCounts | PrivateScores
UNSIGNED = Receipt(cohort="", entries=0, head="", public_key=b"", signature=b"")
"""Stands in a private release until the gate has charged it."""


class Gate:
    """One hospital's way out. `account` charges the ledger of the cohort; `policy` is the hospital's own word.

    `witness` writes the receipt of everything that leaves, before it leaves.
    """

    def __init__(self, policy: Policy, account: Account, witness: Witness) -> None:
        self._policy, self._account, self._witness = policy, account, witness

    def admit(self, plan: Plan, guarantee: Guarantee | None, job: str) -> None:
        """Raises PolicyError if the hospital does not allow `plan`, BudgetError if its patients cannot afford it."""
        self._policy.admit(plan, guarantee)
        if guarantee is not None:
            self._account.admit(job, guarantee)

    def admit_cohort(self, n_patients: int) -> None:
        """Raises PolicyError if the hospital does not allow any study on so small a cohort."""
        self._policy.admit_cohort(n_patients)

    def admit_images(self, plan: Plan, store: CohortStore, cache: Path) -> None:
        """Raises PolicyError if the plan makes images that this hospital has no room for."""
        admit_images(plan, store, cache, self._policy.max_image_gb)

    def pay(self, passage: Passage, charge: Charge, outbox: Outbox, request: str) -> SecureBits:
        """Charge for a release before anything of it is drawn; returns what it must be drawn from.

        An attempt is paid for whatever comes of it. One that was interrupted goes on from the same secret. Raises BudgetError,
        LedgerError, and SiloError if it was charged and its secret is gone: a second sample would be a second charge.
        """
        if charge.part != "train":
            self._refuse_scores("noised")
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
        if silent and refusal.error not in SPEAKABLE:
            refusal = msgspec.structs.replace(refusal, error=WITHHELD, reason=SILENT)
        try:
            return self._out(refusal, plan)
        except (OSError, SiloError):  # a disk that cannot hold its receipt must not keep back why nothing leaves
            return encode(refusal)

    def attest(self, message: Receipts | Cosigned, address: Address) -> bytes:
        """The bytes of what is evidence itself: nothing in it is new but a signature, and it has no receipt of its own."""
        if message.address != address:
            raise GateError("the evidence answers another request than the one at hand; nothing left.")
        return encode(message)

    def release(self, message: Release, address: Address, passage: Passage, model: str = "") -> bytes:
        """The bytes of `message` if it may leave in answer to `address`; what it costs must have been paid.

        `model` is the digest of the global vector that was asked about, for the receipt. Raises GateError if it is not a
        release of this kind of plan, or the ledger holds no charge for it.
        """
        check_kind(message, address, passage)
        if isinstance(message, Refusal):
            return self.refuse(message, passage.plan)
        check_values(message, passage)
        charge: Charge | None = None
        if isinstance(message, Scores | PrivateScores) or address.purpose != UPDATE:
            self._refuse_scores("noised" if passage.guarantee else "exact" if _singly(address, passage) else "summed")
        if isinstance(message, PrivateUpdate | PrivateScores) or (
            isinstance(message, MaskedUpdate | MaskedScores | AuditCounts) and passage.guarantee
        ):
            charge = self._paid(message, passage)
            message = msgspec.structs.replace(message, receipt=self._account.receipt())
        return self._out(message, passage.plan, model, charge)

    def _out(self, message: Release, plan: Plan | None, model: str = "", charge: Charge | None = None) -> bytes:
        """The bytes of `message`, once the receipt of just these bytes is on disk. Raises OSError, SiloError."""
        data = encode(message)
        self._witness.note(message, data, plan, model, charge)
        return data

    def _paid(self, message: Charged, passage: Passage) -> Charge:
        """What the ledger was charged for it. Raises GateError if it was not."""
        plan, guarantee = passage.plan, passage.guarantee
        if guarantee is None or not isinstance(plan.privacy, PatientPrivacy):
            raise GateError("a private release of a plan without privacy; nothing left.")
        if isinstance(message, PrivateUpdate | MaskedUpdate):
            charge = round_charge(plan, plan.privacy, guarantee, message.address.round, message.address.attempt)
        elif message.address.purpose == AUDIT:
            charge = audit_charge(plan, plan.privacy, message.address.round)
        elif isinstance(message, MaskedScores):
            charge = scores_charge(plan, plan.privacy, message.address.round, *scoring_of(message.address.purpose))
        elif isinstance(message, AuditCounts):
            raise GateError("counts of an audit in the name of something else; nothing left.")
        else:
            charge = scores_charge(plan, plan.privacy, message.address.round, message.kind, message.split)
            expected = len(message.classes) / plan.privacy.metrics_epsilon
            if message.epsilon != plan.privacy.metrics_epsilon or not math.isclose(message.scale, expected):
                raise GateError("the scores were not noised as the plan says; nothing left.")
        if not self._account.paid(passage.job, charge):
            raise GateError(f"{charge.release} was never charged; nothing left.")
        return charge

    def _refuse_scores(self, kind: Literal["noised", "summed", "exact"]) -> None:
        """`summed`: exact counts that leave under masks, within a sum over several hospitals."""
        order = ("none", "noised", "summed", "exact")
        if order.index(self._policy.scores) < order.index(kind):
            raise GateError(f"this hospital's policy lets no {kind} scores leave (scores: {self._policy.scores}).")


def _singly(address: Address, passage: Passage) -> bool:
    """Whether what leaves of scores tells this hospital's figures from the others', under masks or not."""
    if address.purpose == AUDIT:  # with groups of single hospitals, even the opened sum does
        return not passage.masked_size or passage.audit is None or bool(passage.audit.sites)
    return address.purpose == UPDATE
