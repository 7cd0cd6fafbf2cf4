"""The plan's network, built the same way on both sides: MONAI class, seeded initial weights, shared and personal tensors.

torch and monai are imported inside the functions: `fedward --help` must not wait for them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from protocol.errors import NetworkError
from protocol.plan import Plan
from protocol.seeds import derive_seed
from protocol.vectors import Layout

if TYPE_CHECKING:
    import torch
    from torch import nn

_NORMALISATION = ("BatchNorm", "GroupNorm", "InstanceNorm", "LayerNorm", "LocalResponseNorm", "RMSNorm")


def build_network(plan: Plan) -> nn.Module:
    """The network with the initial weights that `plan.seed` fixes, on the CPU. Raises NetworkError."""
    import torch
    from monai.networks import nets

    factory = getattr(nets, plan.network.name)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(plan.seed, "initial-weights"))
            network: nn.Module = factory(**plan.network.args)
    except Exception as error:  # MONAI raises whatever its parts raise
        raise NetworkError(f"network.args: MONAI's {plan.network.name} refused them: {error}") from error
    return network


def logits(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """One row of logits per image; some MONAI networks (ViT) return their hidden states as well."""
    output = network(images)
    result: torch.Tensor = output[0] if isinstance(output, tuple | list) else output
    return result


def check_network(network: nn.Module, input_shape: tuple[int, ...], n_classes: int) -> None:
    """One pass of a blank image (C, H, W). Raises NetworkError if the network cannot take it or answers another shape."""
    import torch

    mode = network.training
    network.eval()
    try:
        with torch.no_grad():
            output = logits(network, torch.zeros(1, *input_shape))
    except Exception as error:
        raise NetworkError(
            f"the network cannot take a preprocessed image of shape {list(input_shape)}: {error}. "
            "Compare network.args with data.channels and the size that data.preprocessing produces."
        ) from error
    finally:
        network.train(mode)
    if tuple(output.shape) != (1, n_classes):
        raise NetworkError(f"the network answers {list(output.shape)} for one image; the task needs [1, {n_classes}].")


def personal_names(network: nn.Module, personal: tuple[str, ...], n_classes: int) -> frozenset[str]:
    """Names of the tensors that stay at the silo: `norm`, `head`, or those of the named sub-modules. Raises NetworkError."""
    known = {"norm": _norm_modules(network), "head": _head_module(network, n_classes)}
    names: set[str] = set()
    for part in personal:
        modules = known.get(part, [part])
        found = {key for key in network.state_dict() if any(key.startswith(f"{module}.") for module in modules)}
        if not found:
            raise NetworkError(f"federation.personal: the network has no part {part!r} with weights of its own.")
        names |= found
    return frozenset(names)


def _norm_modules(network: nn.Module) -> list[str]:
    return [name for name, module in network.named_modules() if type(module).__name__.startswith(_NORMALISATION)]


def _head_module(network: nn.Module, n_classes: int) -> list[str]:
    """The last layer that answers one value per class."""
    outs = [
        name
        for name, module in network.named_modules()
        if n_classes in (getattr(module, "out_features", None), getattr(module, "out_channels", None))
    ]
    return outs[-1:]


def shared_layout(network: nn.Module, personal: frozenset[str]) -> Layout:
    """The floating-point tensors that travel, in the network's own order. Raises NetworkError if nothing would."""
    entries = tuple(
        (name, tuple(tensor.shape))
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point() and name not in personal
    )
    if not entries:
        raise NetworkError("federation.personal keeps every part at the silos: nothing is left to federate.")
    return Layout(entries)


def tensors_of(network: nn.Module) -> dict[str, np.ndarray]:
    """Every tensor of the network as numpy arrays on the CPU; views where possible."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in network.state_dict().items()}


def n_parameters(network: nn.Module) -> int:
    """Number of trainable values."""
    return sum(math.prod(parameter.shape) for parameter in network.parameters())
