"""Which releases a private plan foresees, and what each of them costs a patient of which part."""

from __future__ import annotations

from dataclasses import dataclass

from privacy.event_json import Event
from privacy.events import metric_event, training_event
from privacy.guarantee import Guarantee
from protocol.errors import SiloError
from protocol.plan import Plan
from protocol.plan.audit import Audit
from protocol.plan.privacy import PatientPrivacy
from protocol.secure_aggregation import AUDIT


@dataclass(frozen=True)
class Charge:
    """One foreseen release: its name within the job, the part of the cohort it is about, and its privacy event."""

    release: str
    part: str
    event: Event


def round_charge(plan: Plan, privacy: PatientPrivacy, guarantee: Guarantee, number: int, attempt: int = 0) -> Charge:
    """The update of round `number`. Raises SiloError if the plan has no such round.

    Under mechanism distributed each attempt is a fresh sample with a charge of its own: a share of noise hides an update only
    once, so it may not be part of a second sum.
    """
    check_round(plan, number)
    event = training_event(
        guarantee.noise_multiplier, guarantee.sampling_rate, guarantee.steps_per_round, privacy.max_silos_per_patient
    )
    name = f"round/{number}/{attempt}" if privacy.mechanism == "distributed" else f"round/{number}"
    return Charge(name, "train", event)


def check_round(plan: Plan, number: int) -> None:
    """Raises SiloError if the plan has no round `number`: what each hospital agreed to is this many updates, not more."""
    rounds = plan.federation.rounds
    if not 1 <= number <= rounds:
        raise SiloError(f"the plan has rounds 1 to {rounds}; round {number} is not among them.")


def scores_charge(plan: Plan, privacy: PatientPrivacy, number: int, kind: str, split: str) -> Charge:
    """Noised scores after round `number`. Raises SiloError if the plan foresees none there."""
    rounds, every = plan.federation.rounds, plan.evaluation.every
    due = 1 <= number <= rounds and (number % every == 0 or number == rounds)
    foreseen = kind == "federated" and ((split == "validation" and due) or (split == "test" and number == rounds))
    if not foreseen:
        raise SiloError(
            f"the plan foresees no {split} scores of the {kind} model after round {number}; under privacy only foreseen "
            "scores leave: validation when evaluation.every says so, the test once after the last round."
        )
    event = metric_event(privacy.metrics_epsilon, 1, privacy.max_silos_per_patient)
    return Charge(f"scores/{number}/{kind}/{split}", split, event)


def audit_charge(plan: Plan, privacy: PatientPrivacy, number: int) -> Charge:
    """The noised counts of the audit after round `number`: one release a job, paid by test patients. Raises SiloError."""
    audit = check_audit(plan, number)
    return Charge(AUDIT, "test", metric_event(audit.epsilon, 1, privacy.max_silos_per_patient))


def check_audit(plan: Plan, number: int) -> Audit:
    """What the plan's audit asks for. Raises SiloError unless the plan foresees one after round `number`."""
    if (audit := plan.evaluation.audit) is None or number != plan.federation.rounds:
        raise SiloError(
            f"the plan foresees no audit after round {number}: only with evaluation.audit, once after the last round."
        )
    return audit
