"""The whole plan."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from protocol.canonical import canonical_json, digest_bytes
from protocol.plan.code import Code
from protocol.plan.code_rules import code_conflicts
from protocol.plan.data import Data, Task
from protocol.plan.evaluation import Evaluation
from protocol.plan.federation import Federation
from protocol.plan.part import Part
from protocol.plan.privacy import NoPrivacy, Privacy
from protocol.plan.private_rules import conflicts
from protocol.plan.training import Network, Training

PLAN_SCHEMA = "fedward.plan/1"


class Plan(Part):
    """Everything a federation does. Two plans are the same plan if and only if their digests are equal."""

    schema_: Literal["fedward.plan/1"] = Field(alias="schema", description="version of this format")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$", description="short name: a-z, 0-9, dot, dash, underscore")
    title: str = Field(default="", max_length=200, description="one line for people")
    intended_use: str = Field(default="", max_length=4000, description="who should use the model, for what, and for what not")
    seed: int = Field(default=0, ge=0, le=2**53 - 1, description="fixes initial weights, splits and shuffles")
    task: Task = Field(description="what is learned")
    data: Data = Field(description="how an image becomes the network's input")
    code: Code | None = Field(
        default=None,
        description="a Python module beside this file that the network or the loss comes from (docs/custom-code.md)",
    )
    network: Network = Field(description="MONAI network by name and arguments, or code.NAME")
    training: Training = Field(description="what a silo does in a round")
    federation: Federation = Field(description="how the rounds run")
    evaluation: Evaluation = Field(default_factory=Evaluation, description="what is measured")
    privacy: Privacy = Field(
        default_factory=lambda: NoPrivacy(mechanism="none"), description="which mechanism protects the updates"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.training.mu > 0 and self.federation.strategy.name == "FedAvg":
            raise ValueError("training.mu is above 0 but the strategy is FedAvg: name it FedProx, or set mu to 0")
        if self.training.schedule.warmup_rounds >= self.federation.rounds and self.training.schedule.warmup_rounds:
            raise ValueError("training.schedule.warmup_rounds leaves no round after the warm-up; lower it")
        weights = self.training.loss.class_weights
        if not isinstance(weights, str) and len(weights) != len(self.task.classes):
            raise ValueError(f"training.loss.class_weights: {len(weights)} numbers for {len(self.task.classes)} classes")
        if self.network.norm == "frozen" and self.network.weights is None:
            raise ValueError("network.norm: frozen keeps the statistics of public weights; name them in network.weights")
        if refused := code_conflicts(self) + conflicts(self):
            raise ValueError("; ".join(refused))
        return self

    def to_json(self) -> dict[str, Any]:
        """Every field, defaults included, as JSON types."""
        return self.model_dump(mode="json", by_alias=True)

    @property
    def runs_code(self) -> bool:
        """Whether something that the plan brings along is executed."""
        return self.code is not None

    @cached_property
    def canonical(self) -> bytes:
        """RFC 8785 bytes of the plan: what is hashed, approved and sent."""
        return canonical_json(self.to_json())

    @cached_property
    def digest(self) -> str:
        """sha256 of `canonical`."""
        return digest_bytes(self.canonical)
