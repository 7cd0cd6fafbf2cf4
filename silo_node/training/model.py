"""The silo's copy of the plan's network: load the shared vector and the personal parts, read them back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from privacy.coded.build import build
from privacy.per_patient import Loss
from protocol.network import tensors_of
from protocol.plan import Plan
from protocol.vectors import Vector

Personal = Mapping[str, np.ndarray[Any, Any]]


class SiloModel:
    """One network and its two halves: `layout` says what is shared, `personal` what never leaves.

    A plan's own module calculates in a process of its own (privacy/coded), which cannot read `hidden`; its tensors are here.
    Raises NetworkError if the plan's network cannot be built, does not fit the images or is not fit for the plan's privacy.
    """

    def __init__(self, plan: Plan, input_shape: tuple[int, ...], device: torch.device, hidden: Sequence[Path] = ()) -> None:
        self._built = build(plan, input_shape, patients=True, hidden=hidden)
        network, self.n_classes = self._built.network, len(plan.task.classes)
        self.personal_names, self.layout = self._built.personal, self._built.layout
        # Two-dimensional convolutions are about a third faster with channels last; the values stay the same tensors.
        self._memory_format = torch.channels_last if len(input_shape) == 3 else torch.contiguous_format
        self.network: nn.Module = network.to(device, memory_format=self._memory_format)  # type: ignore[call-overload]
        self.device = device
        self._initial = {name: np.copy(value) for name, value in tensors_of(network).items()}

    @property
    def own_loss(self) -> Loss | None:
        """The loss of the plan's own module, if it names one."""
        return self._built.loss

    @property
    def each_apart(self) -> bool:
        """Whether patients must be calculated on one after the other, each within `apart()`."""
        return self._built.each_apart

    def apart(self) -> AbstractContextManager[None]:
        """The time for what is calculated on one patient."""
        return self._built.apart()

    def seed(self, seed: int) -> None:
        """Fix what is random in the network and the loss: dropout and its like."""
        self._built.seed(seed)

    def retime(self) -> None:
        """Measure, without any patient, how long the turns are to be from now on: the machine may be busier than before."""
        self._built.retime()

    def to_device(self, images: torch.Tensor) -> torch.Tensor:
        """A batch (n, C, H, W) where and as the network wants it."""
        return images.to(self.device, memory_format=self._memory_format)

    def reset(self) -> None:
        """Back to the initial weights that the plan's seed fixes; what a module of the plan's own may have kept is gone."""
        self._built.renew()
        self._load(self._initial)

    def load(self, shared: Vector | None, personal: Personal | None) -> None:
        """Start from the initial weights, then take the shared vector and the personal parts where given."""
        self.reset()
        if shared is not None:
            self._load(self.layout.unflatten(shared))
        if personal:
            self._load(personal)

    def shared(self) -> Vector:
        """The shared tensors as one vector; a copy."""
        return self.layout.flatten(tensors_of(self.network))

    def personal(self) -> dict[str, np.ndarray[Any, Any]]:
        """Copies of the personal tensors."""
        return {name: np.copy(value) for name, value in tensors_of(self.network).items() if name in self.personal_names}

    def everything(self) -> dict[str, np.ndarray[Any, Any]]:
        """Copies of all tensors."""
        return {name: np.copy(value) for name, value in tensors_of(self.network).items()}

    def shared_parameters(self) -> list[nn.Parameter]:
        """The trainable shared tensors: what the proximal term holds near the global model."""
        return [parameter for name, parameter in self.network.named_parameters() if name not in self.personal_names]

    @torch.no_grad()
    def _load(self, tensors: Mapping[str, np.ndarray[Any, Any]]) -> None:
        state = self.network.state_dict(keep_vars=True)
        for name, value in tensors.items():
            # A received vector is a read-only view; torch only reads it here.
            state[name].copy_(torch.from_numpy(value if value.flags.writeable else value.copy()))
