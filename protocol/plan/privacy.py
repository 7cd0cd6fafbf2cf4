"""The part of the plan about privacy: which mechanism protects the updates, what it promises, and how it samples."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from protocol.plan.part import Part


class _Aggregated(Part):
    secure_aggregation: bool = Field(
        default=True,
        description="true: the aggregator learns the sum of the updates and no single one; needs 3 to 50 hospitals. It is no "
        "differential privacy. false: it reads every hospital's update",
    )
    update_bound: float = Field(
        default=64.0,
        gt=0.0,
        le=1e6,
        description="secure aggregation: largest absolute value of one coordinate of an update; beyond it is cut. A smaller "
        "one gives a finer grid",
    )
    width_bits: Literal[16, 32, 64] = Field(default=32, description="secure aggregation: bits of each value that is sent")


class NoPrivacy(_Aggregated):
    """No differential privacy: epsilon is infinite, every report says so, and a hospital must allow it in its own file."""

    mechanism: Literal["none"] = Field(description="none: epsilon is infinite; the finished model may reveal any patient")


class PatientPrivacy(_Aggregated):
    """What patient-level DP-SGD (Abadi et al. 2016) needs to know, wherever its noise comes from."""

    mechanism: str
    epsilon: float | None = Field(
        default=None,
        gt=0.0,
        le=1000.0,
        description="what the whole plan may cost one patient; fedward finds the noise. Give this or noise_multiplier",
    )
    noise_multiplier: float | None = Field(
        default=None,
        ge=0.05,
        le=10_000.0,
        description="standard deviation of the noise in units of clip_norm; fedward says the epsilon. Give this or epsilon",
    )
    delta: float = Field(
        default=1e-6, gt=0.0, le=1e-3, description="chance left open; well below one over the number of patients in the study"
    )
    clip_norm: float = Field(default=1.0, gt=0.0, le=1e6, description="bound on the L2 norm of one patient's gradient")
    max_images_per_patient: int = Field(
        default=8, ge=1, le=1024, description="images of one patient in one step; of more, so many are drawn at random"
    )
    views: int = Field(
        default=1,
        ge=1,
        le=64,
        description="differently augmented copies of each image, averaged before clipping (De et al. 2022): steadier gradients "
        "at the same epsilon, for more computation",
    )
    max_silos_per_patient: int = Field(
        default=1, ge=1, le=16, description="hospitals of the study at which one patient may be; each is accounted for"
    )
    sampling: Literal["poisson", "full"] = Field(
        default="poisson",
        description="poisson: each patient is in a step with chance sampling_rate; full: every patient is in every step",
    )
    sampling_rate: float = Field(default=0.1, ge=1e-4, le=1.0, description="poisson: that chance, 0.0001 to 1")
    batch_patients: int = Field(
        ge=1,
        le=1_000_000,
        description="public number by which every hospital divides its sum of clipped gradients, whatever its own size: the "
        "patients a step holds at a typical hospital. The hospitals' numbers of patients stay secret",
    )
    metrics_epsilon: float = Field(
        default=0.3,
        gt=0.0,
        le=10.0,
        description="what one release of noised scores costs a validation or test patient; such patients never train",
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.epsilon is None) == (self.noise_multiplier is None):
            raise ValueError("give exactly one of epsilon and noise_multiplier")
        return self

    @property
    def rate(self) -> float:
        """The chance that a patient is in a step: 1 for full sampling."""
        return 1.0 if self.sampling == "full" else self.sampling_rate


class LocalPrivacy(PatientPrivacy):
    """Patient-level DP-SGD with the whole noise added inside each hospital.

    It holds against everyone outside the hospital, the aggregator and all other hospitals together included.
    """

    mechanism: Literal["local"] = Field(description="local: every hospital adds all of its noise itself")


class DistributedPrivacy(PatientPrivacy):
    """Patient-level DP-SGD with one global step a round: each hospital adds a share of the noise, and only the sum is opened.

    Equal to DP-SGD on all patients together (Kairouz et al. 2021). It holds against the aggregator together with up to a
    third of the hospitals; the noise of fewer honest hospitals than that counts on would be too little.
    """

    mechanism: Literal["distributed"] = Field(
        description="distributed: every hospital adds a share of the noise, and secure aggregation opens the sum alone"
    )
    secure_aggregation: Literal[True] = Field(default=True, description="true: single sums hold too little noise")
    spare_rounds: int = Field(
        default=0,
        ge=0,
        le=1000,
        description="rounds paid for beyond federation.rounds, for those that must be repeated: a repeated round is a fresh "
        "sample and a fresh charge",
    )


Privacy = Annotated[NoPrivacy | LocalPrivacy | DistributedPrivacy, Field(discriminator="mechanism")]
