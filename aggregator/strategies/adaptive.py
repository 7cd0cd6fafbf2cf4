"""FedAdam, FedYogi and FedAdagrad (Reddi et al., "Adaptive Federated Optimization", ICLR 2021, algorithm 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from aggregator.strategies.base import State
from protocol.vectors import Vector


@dataclass(frozen=True, slots=True)
class Adaptive:
    """m <- beta1 m + (1 - beta1) d;  v by `rule`;  global + lr * m / (sqrt(v) + tau), with v starting at tau^2.

    As in the paper there is no bias correction.
    """

    rule: Literal["FedAdam", "FedYogi", "FedAdagrad"]
    lr: float
    beta1: float
    beta2: float
    tau: float

    def __call__(self, model: Vector, mean_update: Vector, state: State) -> tuple[Vector, State]:
        """One step; state: `first` and `second` moments."""
        first = state.get("first", np.zeros_like(model))
        second = state["second"] if "second" in state else np.full(model.shape, self.tau**2, dtype=np.float32)
        first = np.float32(self.beta1) * first + np.float32(1.0 - self.beta1) * mean_update
        second = self._second(second, np.square(mean_update))
        scale: Vector = np.float32(self.lr) / (np.sqrt(second) + np.float32(self.tau))
        return model + first * scale, {"first": first, "second": second}

    def _second(self, second: Vector, square: Vector) -> Vector:
        if self.rule == "FedAdagrad":
            return second + square
        keep = np.float32(1.0 - self.beta2)
        moved: Vector = np.float32(self.beta2) * second + keep * square
        if self.rule == "FedYogi":
            moved = second - keep * square * np.sign(second - square)
        return moved
