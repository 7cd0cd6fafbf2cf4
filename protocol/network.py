"""The plan's network, built the same way on both sides: MONAI's class or the plan's own, seeded initial weights or public ones.

torch and monai are imported inside the functions: `fedward --help` must not wait for them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from protocol.errors import CodeError, MessageError, NetworkError, WeightsError
from protocol.parts import head_modules, train_only
from protocol.plan import Plan
from protocol.plan.code import PREFIX, named_in_code
from protocol.seeds import derive_seed
from protocol.vectors import Tensors
from protocol.weights import find_weights

if TYPE_CHECKING:
    import torch
    from torch import nn


def build_network(plan: Plan, module: ModuleType | None = None) -> nn.Module:
    """The network as every party starts with it, on the CPU: with the plan's seed, normalisation and public weights.

    `module` is the plan's own, which is given in a process of its own only (privacy/coded); a network of MONAI's needs none.
    Parts that the plan does not train do not require a gradient. Raises NetworkError, or WeightsError if a file is missing.
    """
    import torch
    from torch import nn

    from protocol import normalisation

    wanted = plan.network
    factory, whose = _factory(wanted.name, module)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(plan.seed, "initial-weights"))
            network = factory(**wanted.args)
    except Exception as error:  # MONAI raises whatever its parts raise
        raise NetworkError(f"network.args: {whose} {wanted.name} refused them: {error}") from error
    if not isinstance(network, nn.Module):
        raise NetworkError(f"network.name: {wanted.name} makes no torch.nn.Module.")
    if wanted.norm == "group":
        network = normalisation.as_group_norm(network, wanted.norm_groups)
    if wanted.weights is not None:
        _start_from(network, wanted.weights, len(plan.task.classes))
    if wanted.norm == "frozen":
        network = normalisation.as_frozen(network)
    if plan.training.trainable:
        train_only(network, plan.training.trainable, len(plan.task.classes))
    return network


def _factory(name: str, module: ModuleType | None) -> tuple[Callable[..., object], str]:
    """What makes the network, and whose it is."""
    from monai.networks import nets

    if not named_in_code(name):
        return getattr(nets, name), "MONAI's"
    if module is None:
        raise CodeError("network.name: the plan's own module does not run in this process.")
    return getattr(module, name.removeprefix(PREFIX)), "the plan's own"


def _start_from(network: nn.Module, digest: str, n_classes: int) -> None:
    """Load public weights; only the head may be missing from them or have another shape."""
    import torch

    try:
        given: Tensors = find_weights(digest)
    except MessageError as error:
        raise WeightsError(f"network.weights: {error}") from error
    own = network.state_dict()
    head = tuple(f"{module}." for module in head_modules(network, n_classes))
    body = {name for name, tensor in own.items() if tensor.is_floating_point() and not (head and name.startswith(head))}
    wrong = [name for name in sorted(body) if name not in given or tuple(given[name].shape) != tuple(own[name].shape)]
    if wrong:
        raise WeightsError(
            f"network.weights: {len(wrong)} of {len(body)} tensors of the network are not in the file in that shape, "
            f"the first is {wrong[0]!r}. Name the network the weights were made for; norm group has other layers."
        )
    fitting = {name: given[name] for name in own if name in given and given[name].shape == tuple(own[name].shape)}
    network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in fitting.items()}, strict=False)


def logits(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """One row of logits per image."""
    return first_output(network(images))


def first_output(output: torch.Tensor | tuple[torch.Tensor, ...] | list[torch.Tensor]) -> torch.Tensor:
    """The logits in what a network returned; some MONAI networks (ViT) return their hidden states as well."""
    return output[0] if isinstance(output, tuple | list) else output


def check_network(network: nn.Module, input_shape: tuple[int, ...], n_classes: int) -> None:
    """One pass of a blank image (C, H, W). Raises NetworkError if the network cannot take it or answers another shape."""
    import torch

    mode = network.training
    network.eval()
    try:
        with torch.no_grad():
            output = logits(network, torch.zeros(1, *input_shape))
    except Exception as error:
        shapes = " Compare network.args with data.channels and the size that data.preprocessing produces."
        advice = "" if isinstance(error, OSError | ImportError | NameError) else shapes  # those say nothing of sizes
        raise NetworkError(
            f"the network cannot take a preprocessed image of shape {list(input_shape)}: {error}.{advice}"
        ) from error
    finally:
        network.train(mode)
    if tuple(output.shape) != (1, n_classes):
        raise NetworkError(f"the network answers {list(output.shape)} for one image; the task needs [1, {n_classes}].")


def tensors_of(network: nn.Module) -> dict[str, np.ndarray]:
    """Every tensor of the network as numpy arrays on the CPU; views where possible."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in network.state_dict().items()}


def n_parameters(network: nn.Module) -> int:
    """Number of values in all parameters, trained or not."""
    return sum(math.prod(parameter.shape) for parameter in network.parameters())
