"""FedAvg, and FedProx, which differs from it only at the silos; FedAvgM."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aggregator.strategies.base import State
from protocol.vectors import Vector


@dataclass(frozen=True, slots=True)
class FedAvg:
    """global + lr * mean update (McMahan et al. 2017; with lr = 1, the weighted mean of the local models)."""

    lr: float

    def __call__(self, model: Vector, mean_update: Vector, state: State) -> tuple[Vector, State]:
        """One step; keeps no state."""
        new = np.float32(self.lr) * mean_update
        new += model  # in place: with hundreds of megabytes every temporary counts
        return new, state


@dataclass(frozen=True, slots=True)
class FedAvgM:
    """v <- momentum * v + mean update; global + lr * v (Hsu, Qi & Brown 2019)."""

    lr: float
    momentum: float

    def __call__(self, model: Vector, mean_update: Vector, state: State) -> tuple[Vector, State]:
        """One step; state: `velocity`."""
        velocity = mean_update
        if "velocity" in state:
            velocity = np.float32(self.momentum) * state["velocity"] + mean_update
        return model + np.float32(self.lr) * velocity, {"velocity": velocity}
