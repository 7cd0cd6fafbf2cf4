"""What stands in for the plan's own network and loss: tensors here, the calculation in a process of its own.

To everything that trains and scores it is a torch network and a loss like any other. Weights go to the process with every call
and only logits, losses and gradients come back, each of a shape that is known before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from privacy.coded.facts import Facts
from privacy.coded.forks import Forks
from privacy.coded.packing import Array, Spec, checked, n_bytes, pack, unpack
from protocol.errors import NetworkError


class CodedNetwork(nn.Module):
    """The tensors of `facts` under the names that they have in the plan's network; its forward pass is a call."""

    def __init__(self, facts: Facts, forks: Forks, n_classes: int) -> None:
        super().__init__()
        self._fedward_forks, self._fedward_classes = forks, n_classes
        self._fedward_specs = tuple(one.spec for one in facts.tensors)
        self._fedward_buffers = tuple(one.spec for one in facts.tensors if one.kind == "buffer")
        for one in facts.tensors:
            value = torch.from_numpy(np.array(facts.initial[one.spec.name]))
            made = value if one.kind == "buffer" else nn.Parameter(value, requires_grad=one.kind == "learned")
            _register(self, one.spec.name, made if one.same_as == one.spec.name else _at(self, one.same_as))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (n, classes), float32, of images (n, C, ...). Raises CodeError."""
        learned = {name: one for name, one in self.named_parameters() if one.requires_grad}
        if torch.is_grad_enabled() and learned:
            output: torch.Tensor = _Forward.apply(self, images, tuple(learned), *learned.values())  # type: ignore[no-untyped-call]
            return output
        return self.calculate(images, gradient=False)

    @torch.no_grad()
    def calculate(self, images: torch.Tensor, *, gradient: bool) -> torch.Tensor:
        """The call itself. In training buffers come back too, where the process is not one patient's."""
        own, shape = self.state_dict(), (len(images), self._fedward_classes)
        values = {
            "training": self.training,
            "gradient": gradient,
            "bfloat16": torch.is_autocast_enabled("cpu"),
            "channels_last": self._fedward_forks.channels_last,
        }
        tensors = {name: one.contiguous().numpy() for name, one in own.items()}
        arrays = {"images": images.contiguous().numpy(), **pack(self._fedward_specs, tensors, "tensor.")}
        answer = self._fedward_forks.call("forward", values, arrays, n_bytes(self._fedward_buffers) + 4 * shape[0] * shape[1])
        if self.training and not self._fedward_forks.one_patient:
            for name, value in unpack(self._fedward_buffers, answer, "buffer.").items():
                own[name].copy_(torch.from_numpy(np.array(value)))
        return torch.from_numpy(np.array(checked(answer, "logits", "float32", shape)))

    def gradient(self, logits: torch.Tensor, names: tuple[str, ...]) -> list[torch.Tensor]:
        """Of the parameters `names`, given that of the logits of the last call."""
        specs = [Spec(name, tuple(self.get_parameter(name).shape), "float32") for name in names]
        arrays: dict[str, Array] = {"logits": logits.float().contiguous().numpy()}
        answer = self._fedward_forks.call("backward", {"learned": list(names)}, arrays, n_bytes(specs))
        found = unpack(specs, {"float32": checked(answer, "gradient", "float32", (sum(one.size for one in specs),))}, "")
        # As they lie in memory the parameters do: sums over all of them are then made in the same order as without a process.
        return [_like(np.array(found[name]), self.get_parameter(name)) for name in names]


class CodedLoss:
    """The plan's own loss: a mean over the images, of logits (n, classes) and labels (n,)."""

    def __init__(self, forks: Forks) -> None:
        self._forks = forks

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Raises CodeError."""
        value: torch.Tensor = _Loss.apply(self._forks, logits, labels)  # type: ignore[no-untyped-call]
        return value


class _Forward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, network: CodedNetwork, images: torch.Tensor, names: tuple[str, ...], *_: torch.Tensor
    ) -> torch.Tensor:
        ctx.network, ctx.names = network, names
        return network.calculate(images, gradient=True)

    @staticmethod
    def backward(ctx: Any, logits: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return None, None, None, *ctx.network.gradient(logits, ctx.names)


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, forks: Forks, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        wanted = ctx.needs_input_grad[1]
        arrays: Mapping[str, Array] = {
            "logits": logits.detach().float().cpu().contiguous().numpy(),
            "labels": labels.detach().cpu().contiguous().numpy(),
        }
        answer = forks.call("loss", {"gradient": wanted}, arrays, 4 + 4 * logits.numel())
        if wanted:
            found = torch.from_numpy(np.array(checked(answer, "gradient", "float32", tuple(logits.shape))))
            ctx.save_for_backward(found.to(logits.device, logits.dtype))
        return torch.from_numpy(np.array(checked(answer, "loss", "float32", ()))).to(logits.device)

    @staticmethod
    def backward(ctx: Any, given: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return None, gradient * given, None


def _register(network: nn.Module, name: str, tensor: torch.Tensor) -> None:
    *folders, last = name.split(".")
    try:
        for folder in folders:
            if folder not in network._modules:
                network.add_module(folder, nn.Module())
            network = network.get_submodule(folder)
        if isinstance(tensor, nn.Parameter):
            network.register_parameter(last, tensor)
        else:
            network.register_buffer(last, tensor)
    except (KeyError, AttributeError, TypeError) as error:
        raise NetworkError(f"network: a tensor of it cannot be called {name!r}.") from error


def _at(network: nn.Module, name: str) -> torch.Tensor:
    folder, _, last = name.rpartition(".")
    found = getattr(network.get_submodule(folder), last, None)
    if not isinstance(found, torch.Tensor):
        raise NetworkError(f"network: tensor {name!r} is not there before it is shared.")
    return found


def _like(value: Array, parameter: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(parameter).copy_(torch.from_numpy(value))
