"""Rebuild a network's BatchNorm layers: as GroupNorm, which mixes no two images, or frozen at public statistics.

Imported only where a network is built: it loads torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class FrozenBatchNorm(nn.Module):
    """BatchNorm with fixed statistics and scales: an affine map per channel that never learns.

    Tensors have the names of the BatchNorm they come from, so that a file of public weights fits before and after.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    running_mean: torch.Tensor
    running_var: torch.Tensor

    def __init__(self, layer: _BatchNorm) -> None:
        super().__init__()
        if layer.running_mean is None or layer.running_var is None:
            raise ValueError("a BatchNorm without running statistics cannot be frozen")
        ones, zeros = torch.ones(layer.num_features), torch.zeros(layer.num_features)
        self.register_buffer("weight", ones if layer.weight is None else layer.weight.detach().clone())
        self.register_buffer("bias", zeros if layer.bias is None else layer.bias.detach().clone())
        self.register_buffer("running_mean", layer.running_mean.detach().clone())
        self.register_buffer("running_var", layer.running_var.detach().clone())
        self._eps = layer.eps

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, C, ...) to the same shape."""
        shape = (1, -1, *[1] * (images.dim() - 2))
        scale = self.weight * (self.running_var + self._eps).rsqrt()
        return images * scale.view(shape) + (self.bias - self.running_mean * scale).view(shape)


def as_group_norm(network: nn.Module, groups: int) -> nn.Module:
    """Every BatchNorm (and every normalisation that keeps statistics) as GroupNorm with at most `groups` groups."""
    return _replace(network, lambda layer: nn.GroupNorm(math.gcd(groups, layer.num_features), layer.num_features))


def as_frozen(network: nn.Module) -> nn.Module:
    """Every BatchNorm at the statistics it has now."""
    return _replace(network, FrozenBatchNorm)


def keeps_statistics(layer: nn.Module) -> bool:
    """Whether `layer` is a BatchNorm, or any normalisation that remembers what it has seen."""
    return isinstance(layer, _BatchNorm) or getattr(layer, "track_running_stats", False) is True


def _replace(network: nn.Module, build: Callable[[_BatchNorm], nn.Module]) -> nn.Module:
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if keeps_statistics(layer):
                setattr(parent, name, build(layer))  # type: ignore[arg-type]
    return network
