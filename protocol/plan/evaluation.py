"""The part of the plan about what is measured."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from protocol.plan.audit import Audit
from protocol.plan.part import Part


class SiteThreshold(Part):
    """Each hospital calls the class from a threshold of its own, chosen at home on its validation patients."""

    sensitivity: float = Field(gt=0.0, lt=1.0, description="share of positives that the validation patients' threshold calls")


class Evaluation(Part):
    """What is measured, and against what."""

    every: int = Field(
        default=1, ge=1, le=10_000, description="validate the global model every so many rounds, and after the last"
    )
    scores: Literal["per_site", "summed"] = Field(
        default="per_site",
        description="what leaves of how a model scores. per_site: each hospital's figures, and curves for each. summed: only "
        "the sum of the hospitals' counts is opened, and no figure is of a single one; needs privacy.secure_aggregation",
    )
    audit: Audit | None = Field(
        default=None, description="break the final test down by group, at thresholds, with margins; left out: no audit"
    )
    alone: bool = Field(default=True, description="also train what each hospital would have had alone, for as many steps")
    personalise: Literal["none", "fine_tune", "mix"] = Field(
        default="none",
        description="each hospital's personalised model: fine_tune trains the final model on at home; mix averages the "
        "log-probabilities of the final model and of the hospital's own (needs alone)",
    )
    personalise_epochs: int = Field(default=4, ge=1, le=1000, description="fine_tune: passes over the local images")
    personalise_lr_factor: float = Field(
        default=0.1,
        gt=0.0,
        le=10.0,
        description="fine_tune: learning rate as a fraction of training.optimizer.lr",
    )

    recalibrate: Literal["none", "intercept", "platt"] = Field(
        default="none",
        description="also test the final model with probabilities that each hospital recalibrates on its validation patients: "
        "their level (intercept), or level and spread (platt). The map stays at the hospital",
    )
    site_threshold: SiteThreshold | None = Field(
        default=None,
        description="also test each hospital's own threshold beside 0.5. Thresholds stay at the hospitals; left out: none",
    )

    @model_validator(mode="after")
    def _mix_needs_alone(self) -> Self:
        if self.personalise == "mix" and not self.alone:
            raise ValueError("personalise: mix averages with the hospital's own model; set alone to true")
        return self
