"""What an adversary sees of training, step by step, and the patients' code behind it: the thing that every test looks at."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from privacy.per_patient import Loss
from privacy.randomness import Integers, SecureBits
from privacy.step import Batch, PrivateStep

Seen = npt.NDArray[np.float64]
Sums = Callable[[nn.Module, Loss, int, Batch], Integers]


@dataclasses.dataclass(frozen=True)
class Stream(ABC):
    """One sum a step. `step` says what the guarantee was computed from; its noise is that of the whole sum."""

    step: PrivateStep

    @property
    @abstractmethod
    def adversary(self) -> str:
        """Who sees what, to follow the word "under"."""

    @property
    @abstractmethod
    def mechanism(self) -> dict[str, Any]:
        """Name and numbers as JSON types, the name first."""

    @property
    @abstractmethod
    def what(self) -> str:
        """What is released, in two words."""

    @property
    def detail(self) -> str:
        """What else a reader must know of the mechanism; may be empty."""
        return ""

    @abstractmethod
    def released(self, network: nn.Module, loss: Loss, patients: int, batch: Batch) -> Seen:
        """What one step shows of so many patients, shape (trainable values,), in clip norms."""

    @abstractmethod
    def sums(self) -> Sums:
        """A function that gives the integer sum of a step that takes everybody, shape (trainable values,).

        All its sums hold the same noise or none: two of them differ by what their patients differ in.
        """

    def _figures(self) -> dict[str, Any]:
        names = ("noise_multiplier", "clip_norm", "sampling_rate", "batch_patients")
        return {name: getattr(self.step, name) for name in names}


@dataclasses.dataclass(frozen=True)
class NoisedSums(Stream):
    """Mechanism local: each hospital's own sums, with all of their noise."""

    @property
    def adversary(self) -> str:
        """Who sees what."""
        return "a white-box adversary who sees every noised sum and chose the patients' gradients"

    @property
    def mechanism(self) -> dict[str, Any]:
        """Name and numbers."""
        return {"name": "local", **self._figures()}

    @property
    def what(self) -> str:
        """What is released."""
        return "noised sums"

    def released(self, network: nn.Module, loss: Loss, patients: int, batch: Batch) -> Seen:
        """The mean that trains, times the number it was divided by."""
        seen: Seen = self.step.mean(network, loss, patients, batch).double().numpy()
        return seen * (self.step.batch_patients / self.step.clip_norm)

    def sums(self) -> Sums:
        """Sums without noise."""
        everybody = dataclasses.replace(self.step, sampling_rate=1.0)  # what is probed is the sum, not the sampling
        return lambda network, loss, patients, batch: everybody.sum(network, loss, patients, batch, SecureBits()).integers()
