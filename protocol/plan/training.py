"""The part of the plan about what a silo does with its own images: network, objective, optimiser."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from protocol.plan.allowlist import FORBIDDEN_ARGS, NETWORKS
from protocol.plan.code import named_in_code
from protocol.plan.part import Beta, Fraction, Named, Part, Rate


class Network(Named):
    """A network that maps one preprocessed image to one logit per class: MONAI's, or a class of the plan's own module."""

    name: str = Field(
        max_length=80, description="class name as in MONAI, on fedward's allow-list; or code.NAME, a class in the plan's module"
    )
    norm: Literal["as_built", "group", "frozen"] = Field(
        default="as_built",
        description="group: every BatchNorm is rebuilt as GroupNorm (privacy needs it); frozen: BatchNorm keeps the statistics "
        "and scales of `weights` and never learns",
    )
    norm_groups: int = Field(
        default=8, ge=1, le=1024, description="norm group: groups per layer, fewer where they do not divide"
    )
    weights: str | None = Field(
        default=None,
        pattern=r"^sha256:[0-9a-f]{64}$",
        description="digest of a safetensors file of public weights to start from; `fedward weights add FILE` prints it",
    )

    @field_validator("name")
    @classmethod
    def _allowed(cls, name: str) -> str:
        if not named_in_code(name) and name not in NETWORKS:
            raise ValueError(f"{name!r} is not an allowed network; allowed: {', '.join(sorted(NETWORKS))}")
        return name

    @model_validator(mode="after")
    def _no_downloads(self) -> Self:
        if bad := sorted(FORBIDDEN_ARGS & self.args.keys()):
            raise ValueError(f"args: {', '.join(bad)} is not allowed: a silo downloads nothing")
        return self


class Sgd(Part):
    """Stochastic gradient descent with momentum."""

    name: Literal["SGD"]
    lr: Rate = Field(description="learning rate, above 0")
    momentum: Beta = Field(default=0.0, description="range 0 to below 1")
    nesterov: bool = Field(default=False, description="Nesterov momentum")
    weight_decay: float = Field(default=0.0, ge=0.0, le=10.0, description="L2 penalty, range 0 to 10")


class Adam(Part):
    """Adam (Kingma & Ba 2015) or AdamW (Loshchilov & Hutter 2019)."""

    name: Literal["Adam", "AdamW"]
    lr: Rate = Field(description="learning rate, above 0")
    beta1: Beta = Field(default=0.9, description="range 0 to below 1")
    beta2: Beta = Field(default=0.999, description="range 0 to below 1")
    weight_decay: float = Field(
        default=0.0, ge=0.0, le=10.0, description="Adam: L2 penalty; AdamW: decoupled decay; range 0 to 10"
    )


class Schedule(Part):
    """How the learning rate moves over the rounds; within a round it is constant."""

    name: Literal["constant", "cosine", "step"] = Field(default="constant", description="constant, cosine or step")
    warmup_rounds: int = Field(default=0, ge=0, le=1000, description="rounds of linear warm-up")
    final_factor: Fraction = Field(default=0.0, description="cosine: the last round's rate as a fraction of lr, range 0 to 1")
    step_rounds: int = Field(default=10, ge=1, le=1000, description="step: every so many rounds ...")
    step_factor: Fraction = Field(default=0.5, description="step: ... the rate is multiplied by this, range 0 to 1")


Weight = Annotated[float, Field(gt=0.0, le=1e6)]


class Loss(Part):
    """Cross-entropy, and what it does about classes that are rare at a hospital; or a function of the plan's own module."""

    name: str = Field(
        default="cross_entropy",
        pattern=r"^(cross_entropy|code\.[A-Za-z_][A-Za-z0-9_]{0,63})$",
        description="cross_entropy, or code.NAME: NAME(logits (n, classes), labels (n,)) of the plan's module returns the mean "
        "loss, and the keys below do not apply",
    )
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0, description="range 0 to below 1")
    class_weights: Literal["none", "balanced"] | tuple[Weight, ...] = Field(
        default="none",
        description="balanced: weight each class by n / (classes * n_class) of the silo's training images; or one public "
        "number per class",
    )
    prior_adjustment: float = Field(
        default=0.0,
        ge=0.0,
        le=4.0,
        description="tau of logit adjustment (Menon et al. 2021) by the silo's class frequencies; 0 is off, 1 is usual",
    )


class Training(Part):
    """One silo's local training in one round (FedProx, Li et al. 2020)."""

    mu: float = Field(
        default=0.01, ge=0.0, le=1e6, description="weight of the proximal term mu/2 |w - w_global|^2; 0 is FedAvg"
    )
    local_epochs: int | None = Field(default=None, ge=1, le=1000, description="passes over the local images a round, or ...")
    local_steps: int | None = Field(default=None, ge=1, le=100_000, description="... optimiser steps a round: give exactly one")
    max_seconds: float | None = Field(
        default=None,
        gt=0.0,
        le=604_800.0,
        description="a hospital stops its local steps after so many seconds, one step at least, and sends what it has: a slow "
        "one is in the mean with less work instead of late. mu holds unequal work together. Left out: all steps, or late",
    )
    batch_size: int = Field(default=32, ge=1, le=65536, description="images a step")
    optimizer: Annotated[Sgd | Adam, Field(discriminator="name")] = Field(
        description="SGD, Adam or AdamW; starts afresh each round"
    )
    schedule: Schedule = Field(default_factory=Schedule, description="learning rate over the rounds")
    loss: Loss = Field(default_factory=Loss, description="cross-entropy and its balancing")
    sampling: Literal["shuffle", "balanced"] = Field(
        default="shuffle",
        description="shuffle: every image once a pass; balanced: classes drawn equally often, with replacement",
    )
    clip_grad_norm: float | None = Field(default=None, gt=0.0, description="bound on the gradient's L2 norm; left out: none")
    trainable: tuple[str, ...] = Field(
        default=(),
        description="only these parts learn: head (last layer), norm, or sub-modules by name; the rest keeps its initial "
        "weights and does not travel. Left out: all",
    )
    mixed_precision: bool = Field(default=False, description="bfloat16 autocast on a GPU or on a CPU that has it")

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.local_epochs is None) == (self.local_steps is None):
            raise ValueError("give exactly one of local_epochs and local_steps")
        return self
