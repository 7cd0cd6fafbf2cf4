"""What is audited: the mechanism that a plan describes, with the noise that its guarantee was computed from."""

from __future__ import annotations

from dataclasses import dataclass

from privacy.audit.opened import OpenedSums, manifest_of
from privacy.audit.stream import NoisedSums, Stream
from privacy.guarantee import guarantee_of
from privacy.secure_aggregation.manifest import MIN_SILOS
from privacy.step import PrivateStep
from protocol.errors import InputError, PrivacyError
from protocol.plan import Plan
from protocol.plan.privacy import DistributedPrivacy, PatientPrivacy

_SILOS = 4


@dataclass(frozen=True)
class Subject:
    """The stream of sums in which one training patient is, and what it is said to cost that patient."""

    stream: Stream
    steps: int
    """Sums of the whole study in which one patient may be."""
    images: int
    """Images of a canary patient in a step: several, where the plan allows, so that clipping each by itself would show."""
    epsilon: float
    delta: float


def subject_of(plan: Plan, silos: int | None = None) -> Subject:
    """The subject of `plan`; under mechanism distributed for so many `silos`: its quorum, or four where that is no federation.

    Raises PrivacyError if there is nothing to audit or the claim fails on paper, InputError for `silos` that do not fit.
    """
    privacy, guarantee = plan.privacy, guarantee_of(plan)
    if not isinstance(privacy, PatientPrivacy):
        raise PrivacyError("epsilon: infinite; there is nothing to audit. Give the plan a privacy.mechanism.")
    step = PrivateStep(privacy.clip_norm, guarantee.noise_multiplier, guarantee.sampling_rate, privacy.batch_patients)
    return Subject(
        stream=_stream(plan, step, silos),
        steps=guarantee.steps * privacy.max_silos_per_patient,
        images=min(4, privacy.max_images_per_patient * privacy.views),
        epsilon=guarantee.epsilon_by_part["train"],
        delta=privacy.delta,
    )


def _stream(plan: Plan, step: PrivateStep, silos: int | None) -> Stream:
    privacy = plan.privacy
    if isinstance(privacy, DistributedPrivacy):
        quorum = plan.federation.quorum
        return OpenedSums(step, manifest_of(plan, silos or (quorum if quorum >= MIN_SILOS else _SILOS)))
    if silos is not None:
        raise InputError(
            f"--silos {silos}: under mechanism {privacy.mechanism} every hospital adds all of its noise; leave it out."
        )
    return NoisedSums(step)
