"""The part of the plan about the rounds: aggregation, server strategy, weights, quorum, deadline."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from protocol.errors import PlanError
from protocol.plan.aggregation import Aggregation, Guard, Mean, too_few
from protocol.plan.compression import Compression, NoCompression
from protocol.plan.fairness import unused
from protocol.plan.part import Beta, Part, Rate


class Average(Part):
    """The weighted mean of the updates. FedProx differs from FedAvg at the silos only (training.mu)."""

    name: Literal["FedAvg", "FedProx"]
    lr: Rate = Field(default=1.0, description="server learning rate; 1 takes the mean as it is")


class Momentum(Part):
    """FedAvgM (Hsu et al. 2019): server momentum on the mean update."""

    name: Literal["FedAvgM"]
    lr: Rate = Field(default=1.0, description="server learning rate")
    momentum: Beta = Field(default=0.9, description="range 0 to below 1")


class Adaptive(Part):
    """FedAdam, FedYogi, FedAdagrad (Reddi et al. 2021)."""

    name: Literal["FedAdam", "FedYogi", "FedAdagrad"]
    lr: Rate = Field(default=0.01, description="server learning rate (eta)")
    beta1: Beta = Field(default=0.9, description="range 0 to below 1; FedAdagrad is usually run with 0")
    beta2: Beta = Field(default=0.99, description="range 0 to below 1; not used by FedAdagrad")
    tau: Rate = Field(default=1e-3, description="adaptivity: larger means closer to FedAvgM")


Weight = Annotated[float, Field(gt=0.0, le=1e9)]


class Federation(Part):
    """How the rounds run."""

    rounds: int = Field(ge=1, le=10_000, description="number of rounds")
    strategy: Annotated[Average | Momentum | Adaptive, Field(discriminator="name")] = Field(
        default_factory=lambda: Average(name="FedProx"), description="what the server does with the mean update"
    )
    weighting: Literal["samples", "uniform", "positives", "declared", "q_ffl", "worst_site"] = Field(
        default="samples",
        description="a silo weighs by its training images, equally, by those outside the first class, or as declared; or for "
        "fairness: q_ffl by its own loss to the power fairness_q, worst_site more the worse it validates",
    )
    declared_weights: dict[str, Weight] = Field(
        default_factory=dict,
        description="weighting declared: a public number above 0 for every hospital by name, such as beds or a published "
        "cohort's size. It stands in the plan, so never a count that a hospital would keep to itself",
    )
    weight_bound: int = Field(
        default=10_000,
        ge=1,
        le=1_000_000,
        description="secure aggregation with weights: public bound on one hospital's number of images; above it counts as it. "
        "The closer to the largest hospital, the finer the grid. q_ffl: a weight is one of so many steps",
    )
    fairness_q: float | None = Field(
        default=None,
        ge=0.0,
        le=10.0,
        description="q_ffl: 0 weighs equally, 1 by the loss, more favours hospitals of high loss more",
    )
    fairness_loss_bound: float = Field(
        default=2.0,
        gt=0.0,
        le=1000.0,
        description="q_ffl, and worst_site by loss: a loss (nats) above it counts as it. A little above the first round's is "
        "best: then all weights use the grid, and no hospital gains by a loss that is not real",
    )
    fairness_measure: Literal["auroc", "loss"] = Field(
        default="auroc", description="worst_site: what makes a hospital weigh more, 1 - its validation AUROC or its loss"
    )
    fairness_rate: Rate = Field(
        default=2.0,
        description="worst_site: how fast; after each validation a weight is multiplied by exp(rate x measure), then all "
        "are made to sum to 1",
    )
    fairness_floor: float = Field(
        default=0.25,
        ge=0.05,
        le=1.0,
        description="worst_site: part of all weight that is always spread equally, so that nobody weighs nothing. Under secure "
        "aggregation it also keeps the sum from being nearly one hospital's update",
    )
    aggregation: Aggregation = Field(
        default_factory=lambda: Mean(name="mean"),
        description="how updates become one: mean, or one that withstands poisoned silos but must see single updates",
    )
    compression: Compression = Field(
        default_factory=lambda: NoCompression(name="none"),
        description="how updates travel up without secure aggregation; models always travel down as float32",
    )
    norm_bound: float | None = Field(
        default=None,
        gt=0.0,
        le=1e9,
        description="an update longer than this (L2) is scaled down to it before it is aggregated; needs single updates. Under "
        "mechanism local noise is most of an update's length, so the bound must leave room for it. Left out: none",
    )
    guard: Guard = Field(default_factory=Guard, description="when a round's outcome is rejected; works on the aggregate alone")
    personal: tuple[str, ...] = Field(
        default=(),
        description="parts that never leave a silo: norm (normalisation, FedBN), head (last layer), or sub-modules by name",
    )
    quorum: int = Field(default=2, ge=1, le=10_000, description="fewest usable updates; below it the round fails")
    round_deadline_s: float = Field(default=3600.0, gt=0.0, le=604_800.0, description="seconds a silo has for one request")
    average_last: int = Field(
        default=1,
        ge=1,
        le=10_000,
        description="the final model is the mean of the last so many global models; 1 is the last one",
    )
    ema: float | None = Field(
        default=None,
        gt=0.0,
        lt=1.0,
        description="exponential moving average of the global models with this decay is what is validated, tested and kept; "
        "it steadies noisy rounds and costs no privacy. Left out: off",
    )

    @model_validator(mode="after")
    def _average_within(self) -> Self:
        if self.average_last > self.rounds:
            raise ValueError(f"average_last ({self.average_last}) is more than rounds ({self.rounds})")
        if self.ema is not None and self.average_last > 1:
            raise ValueError("ema and average_last both average the final model; leave one out")
        if self.ema is not None and self.personal:
            raise ValueError("ema needs every part to be shared; with personal parts use average_last")
        return self

    @model_validator(mode="after")
    def _weighs(self) -> Self:
        if self.weighting != "declared" and self.declared_weights:
            raise ValueError(f"declared_weights: weighting {self.weighting} takes none; leave them out, or set it to declared")
        if self.weighting == "declared" and len(self.declared_weights) < self.quorum:
            named = len(self.declared_weights)
            raise ValueError(f"declared_weights: {named} hospitals, the quorum is {self.quorum}; give every hospital's number")
        if (reason := unused(self)) is not None:
            raise ValueError(reason)
        numbers = self.declared_weights.values()
        if numbers and max(numbers) > 1e6 * min(numbers):
            raise ValueError(
                "declared_weights: the largest is over a million times the smallest, which would not be seen in a mean"
            )
        return self

    @model_validator(mode="after")
    def _withstands(self) -> Self:
        name = self.aggregation.name
        if name != "mean" and self.weighting != "uniform":
            raise ValueError(f"weighting: {name} counts every silo once, whatever its size; set weighting to uniform")
        if reason := too_few(self.aggregation, self.quorum):
            raise ValueError(reason)
        if self.guard.max_validation_drop is not None and self.personal:
            raise ValueError("guard.max_validation_drop: personal parts stay at the silos and cannot go back; leave one out")
        return self


def needs_single_updates(federation: Federation) -> list[str]:
    """The keys of `federation` that must see each silo's update by itself, which secure aggregation rules out."""
    needs = {"aggregation": federation.aggregation.name != "mean", "norm_bound": federation.norm_bound is not None}
    return [f"federation.{key}" for key, single in needs.items() if single]


def refuse_unnamed(federation: Federation, silos: Sequence[str]) -> None:
    """Raises PlanError if the declared weights leave out one of `silos`, or name a hospital that is none of them."""
    if federation.weighting != "declared":
        return
    missing, unknown = set(silos) - federation.declared_weights.keys(), federation.declared_weights.keys() - set(silos)
    lines = [f"it has no number for {', '.join(sorted(missing))}"] if missing else []
    lines += [f"it names {', '.join(sorted(unknown))}, not in this federation"] if unknown else []
    if lines:
        raise PlanError(f"federation.declared_weights: {'; '.join(lines)}. Give each of {', '.join(sorted(silos))} one number.")


def declared_share(federation: Federation, silo: str) -> float:
    """The silo's declared weight over the largest of all, in (0, 1], as the float32 that both sides calculate with.

    Raises PlanError if the plan has no number for it.
    """
    weights = federation.declared_weights
    if silo not in weights:
        raise PlanError(f"federation.declared_weights: no number for {silo}; the hospitals approve a plan that has one.")
    (share,) = struct.unpack("<f", struct.pack("<f", weights[silo] / max(weights.values())))
    return float(share)
