"""What is audited: the mechanism that a plan describes, with the noise that its guarantee was computed from."""

from __future__ import annotations

import math
from dataclasses import dataclass

from privacy.guarantee import guarantee_of
from privacy.step import PrivateStep
from protocol.errors import PrivacyError
from protocol.plan import Plan
from protocol.plan.privacy import LocalPrivacy

ADVERSARY = "a white-box adversary who sees every noised sum and chose the patients' gradients"


@dataclass(frozen=True)
class Subject:
    """The stream of noised sums in which one training patient is, and what it is said to cost that patient."""

    step: PrivateStep
    steps: int
    """Noised sums of the whole study, at all hospitals at which one patient may be."""
    images: int
    """Images of a canary patient in a step: several, where the plan allows, so that clipping each by itself would show."""
    epsilon: float
    delta: float


def subject_of(plan: Plan, step: type[PrivateStep] = PrivateStep) -> Subject:
    """The subject of `plan`; `step` is the class that is to be audited. Raises PrivacyError if there is nothing to audit."""
    privacy, guarantee = plan.privacy, guarantee_of(plan)
    if not math.isfinite(guarantee.epsilon):
        raise PrivacyError("epsilon: infinite; there is nothing to audit. Give the plan a privacy.mechanism.")
    if not isinstance(privacy, LocalPrivacy):
        raise PrivacyError(f"the audit does not know privacy.mechanism {privacy.mechanism!r}; update fedward where you audit.")
    return Subject(
        step=step(privacy.clip_norm, guarantee.noise_multiplier, guarantee.sampling_rate, privacy.batch_patients),
        steps=guarantee.steps * privacy.max_silos_per_patient,
        images=min(4, privacy.max_images_per_patient * privacy.views),
        epsilon=guarantee.epsilon_by_part["train"],
        delta=privacy.delta,
    )
