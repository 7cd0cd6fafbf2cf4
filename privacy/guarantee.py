"""What a plan promises one patient, computed from the plan alone: anyone who holds the plan gets the same figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from privacy.accounting import epsilon
from privacy.calibration import calibrate
from privacy.event_json import Event, encode
from privacy.events import metric_event, together, training_event
from protocol.errors import PlanError, PrivacyError
from protocol.plan import Plan
from protocol.plan.privacy import DistributedPrivacy, PatientPrivacy

LOUD_EPSILON = 8.0
LOUD_DELTA = 1e-5


@dataclass(frozen=True)
class Guarantee:
    """A patient-level promise under adding or removing one patient (add-or-remove-one), at one hospital or several.

    A patient stands in one part of a study only, chosen from the patient's own pseudonym, so a study costs a patient the
    largest epsilon over the parts, not their sum. Without a mechanism epsilon is infinite and there are no events.
    """

    mechanism: str
    epsilon: float
    delta: float
    noise_multiplier: float
    """Standard deviation of the noise of one step in units of clip_norm."""
    sampling_rate: float
    steps: int
    """Steps of the whole study."""
    steps_per_round: int
    clip_norm: float
    epsilon_by_part: Mapping[str, float]
    events: Mapping[str, Event]
    """Part to everything the study does to its patients; a part from which nothing leaves is not there."""
    notes: tuple[str, ...]
    """What a person should be told loudly."""
    unit: str = "patient"

    def as_json(self) -> dict[str, Any]:
        """The same as JSON types; an infinite epsilon is null."""
        return {
            "mechanism": self.mechanism,
            "unit": self.unit,
            "neighbours": "add or remove one",
            "epsilon": _finite(self.epsilon),
            "delta": self.delta,
            "noise_multiplier": self.noise_multiplier,
            "sampling_rate": self.sampling_rate,
            "steps": self.steps,
            "steps_per_round": self.steps_per_round,
            "clip_norm": self.clip_norm,
            "epsilon_by_part": {part: _finite(value) for part, value in self.epsilon_by_part.items()},
            "events": {part: encode(event) for part, event in self.events.items()},
            "notes": list(self.notes),
        }


def guarantee_of(plan: Plan) -> Guarantee:
    """The promise of `plan`; where the plan gives epsilon, the noise is the least that keeps it.

    Raises PlanError if no noise keeps it, or if releasing scores alone would cost more.
    """
    privacy = plan.privacy
    per_round = steps_per_round(plan)
    spare = privacy.spare_rounds if isinstance(privacy, DistributedPrivacy) else 0
    steps = (plan.federation.rounds + spare) * per_round
    if not isinstance(privacy, PatientPrivacy):
        return Guarantee(
            mechanism="none",
            epsilon=math.inf,
            delta=0.0,
            noise_multiplier=0.0,
            sampling_rate=1.0,
            steps=steps,
            steps_per_round=per_round,
            clip_norm=0.0,
            epsilon_by_part={"train": math.inf, "validation": math.inf, "test": math.inf},
            events={},
            notes=("epsilon: infinite. No differential privacy; the aggregator can read each update.",),
        )
    silos = privacy.max_silos_per_patient
    events = {
        part: metric_event(privacy.metrics_epsilon, count, silos) for part, count in score_releases(plan).items() if count
    }
    if (audit := plan.evaluation.audit) is not None and "test" in events:
        events["test"] = together(events["test"], metric_event(audit.epsilon, 1, silos))
    # A patient at several hospitals may train at one and be tested at another: then the parts add up.
    beside = tuple(events.values()) if silos > 1 else ()
    costs = {part: epsilon([event], privacy.delta) for part, event in events.items()}
    sigma = privacy.noise_multiplier if privacy.noise_multiplier is not None else _least_noise(plan, steps, costs, beside)
    events["train"] = training_event(sigma, privacy.rate, steps, silos)
    costs["train"] = epsilon([events["train"]], privacy.delta)
    return Guarantee(
        mechanism=privacy.mechanism,
        epsilon=epsilon([events["train"], *beside], privacy.delta) if beside else max(costs.values()),
        delta=privacy.delta,
        noise_multiplier=sigma,
        sampling_rate=privacy.rate,
        steps=steps,
        steps_per_round=per_round,
        clip_norm=privacy.clip_norm,
        epsilon_by_part={part: costs.get(part, 0.0) for part in ("train", "validation", "test")},
        events=events,
        notes=_notes(max(costs.values()), privacy.delta),
    )


def steps_per_round(plan: Plan) -> int:
    """Optimiser steps of one round; at sampling rate q a pass is ceil(1/q) steps, whatever the hospital's size."""
    if plan.training.local_steps is not None:
        return plan.training.local_steps
    rate = plan.privacy.rate if isinstance(plan.privacy, PatientPrivacy) else 1.0
    return (plan.training.local_epochs or 1) * math.ceil(1.0 / rate - 1e-9)


def score_releases(plan: Plan) -> dict[str, int]:
    """How often noised scores of the validation and of the test part leave a hospital in a whole study, but for the audit."""
    rounds, every, split = plan.federation.rounds, plan.evaluation.every, plan.data.split
    return {
        "validation": -(-rounds // every) if split.validation_fraction > 0 or split.use_fold_column else 0,
        "test": 1 if split.test_fraction > 0 or split.use_fold_column else 0,
    }


def _least_noise(plan: Plan, steps: int, costs: Mapping[str, float], beside: tuple[Event, ...]) -> float:
    privacy, audit = plan.privacy, plan.evaluation.audit
    if not isinstance(privacy, PatientPrivacy):
        raise PlanError("privacy: a plan without privacy has no noise to be found.")
    target = privacy.epsilon or 0.0
    for part, cost in costs.items():
        if cost <= target:
            continue
        if part == "test" and audit is not None:
            raise PlanError(
                f"privacy: the test scores and the audit would cost a test patient epsilon {cost:.3g}, privacy.epsilon is "
                f"{target:g}. Lower evaluation.audit.epsilon ({audit.epsilon:g}) or privacy.metrics_epsilon "
                f"({privacy.metrics_epsilon:g}), or leave evaluation.audit out."
            )
        raise PlanError(
            f"privacy: the {part} scores alone would cost a patient epsilon {cost:.3g}, privacy.epsilon is {target:g}. "
            "Lower privacy.metrics_epsilon, or validate less often with evaluation.every."
        )
    try:
        return calibrate(target, privacy.delta, privacy.rate, steps, privacy.max_silos_per_patient, beside)
    except PrivacyError as error:
        raise PlanError(f"privacy.epsilon: {error}") from error


def _notes(cost: float, delta: float) -> tuple[str, ...]:
    notes = []
    if cost > LOUD_EPSILON:
        notes.append(f"epsilon {cost:.3g} is above {LOUD_EPSILON:g}: a weak promise to patients.")
    if delta > LOUD_DELTA:
        notes.append(f"delta {delta:g} is above {LOUD_DELTA:g}: in a cohort of many patients one of them may go unprotected.")
    return tuple(notes)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
