"""What a promise costs in signal: how large the noise is against the largest possible sum of clipped gradients.

In a step the clipped gradients of B patients (batch_patients, or q N for a cohort of N) sum to a vector of norm at most B C.
The noise has standard deviation sigma C in each of d coordinates, so its norm is sigma C sqrt(d) (to one part in sqrt(2 d)).
Over the s steps of a round signals add up, noises add up in squares.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from privacy.accounting import epsilon
from privacy.events import training_event
from privacy.guarantee import Guarantee, guarantee_of
from protocol.errors import PrivacyError
from protocol.plan import Plan
from protocol.plan.privacy import PatientPrivacy

COHORTS = (100, 300, 1000, 3000, 10_000)


@dataclass(frozen=True)
class NoiseToSignal:
    """Ratios without unit for one hospital; the mean over K equal hospitals divides each by sqrt(K)."""

    per_step: float
    """sigma sqrt(d) / B: norm of the noise over the largest norm of the sum. Above 1 a single step is mostly noise."""
    per_round: float
    """sigma sqrt(d) / (B sqrt(s)): the same for the sum of a round's s steps that all point the same way."""
    along_gradient: float
    """sigma / (B sqrt(s)): noise of a round along the one direction in which the gradients agree; does not grow with d."""
    per_coordinate: float
    """sigma C / B: standard deviation of the noise on one coordinate of a step's mean gradient, in the gradient's own unit."""


@dataclass(frozen=True)
class CohortRow:
    """The plan at a hospital with `patients` training patients."""

    patients: int
    sampling_rate: float
    """The rate that keeps batch_patients in a step at this size; 1 if the hospital is smaller than that."""
    epsilon: float
    """Cost of training at that rate with the plan's noise and steps."""
    per_step: float
    """Noise to signal of a step at the plan's own rate, in which rate * patients patients are expected."""
    per_round: float


def noise_to_signal(plan: Plan, guarantee: Guarantee, n_values: int) -> NoiseToSignal:
    """The ratios of a plan that trains `n_values` values, at a hospital for which batch_patients is right."""
    batch = float(_privacy(plan).batch_patients * _hospitals(plan))
    step, round_ = _ratios(guarantee, n_values, batch)
    along = guarantee.noise_multiplier / (batch * math.sqrt(guarantee.steps_per_round))
    return NoiseToSignal(step, round_, along, guarantee.noise_multiplier * guarantee.clip_norm / batch)


def cohort_table(plan: Plan, n_values: int, guarantee: Guarantee | None = None) -> tuple[CohortRow, ...]:
    """What the plan's noise costs and drowns at hospitals of 100 to 10 000 training patients."""
    privacy, known = _privacy(plan), guarantee or guarantee_of(plan)
    rows = []
    for patients in COHORTS:
        rate = min(1.0, privacy.batch_patients / patients)
        event = training_event(known.noise_multiplier, rate, known.steps, privacy.max_silos_per_patient)
        ratios = _ratios(known, n_values, privacy.rate * patients * _hospitals(plan))
        rows.append(CohortRow(patients, rate, epsilon([event], privacy.delta), *ratios))
    return tuple(rows)


def _ratios(guarantee: Guarantee, n_values: int, batch: float) -> tuple[float, float]:
    step = guarantee.noise_multiplier * math.sqrt(n_values) / batch
    return step, step / math.sqrt(guarantee.steps_per_round)


def _hospitals(plan: Plan) -> int:
    """How many hospitals' patients share one noise: all that must be in the sum if it is distributed, else one."""
    return plan.federation.quorum if plan.privacy.mechanism == "distributed" else 1


def _privacy(plan: Plan) -> PatientPrivacy:
    if not isinstance(plan.privacy, PatientPrivacy):
        raise PrivacyError("without a privacy mechanism there is no noise to speak of.")
    return plan.privacy
