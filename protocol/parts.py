"""Parts of a network by name: which learn, which stay at a silo, which travel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocol.errors import NetworkError
from protocol.vectors import Layout

if TYPE_CHECKING:
    from torch import nn

_NORMALISATION = (
    "BatchNorm",
    "FrozenBatchNorm",
    "GroupNorm",
    "InstanceNorm",
    "LayerNorm",
    "LocalResponseNorm",
    "RMSNorm",
)


def train_only(network: nn.Module, parts: tuple[str, ...], n_classes: int) -> None:
    """Let only `parts` learn. Raises NetworkError for an unknown part, or a layer that would move without learning."""
    from protocol.normalisation import keeps_statistics

    wanted = _names(network, parts, n_classes, "training.trainable")
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in wanted)
    for name, layer in network.named_modules():
        if keeps_statistics(layer) and not any(key.startswith(f"{name}.") for key in wanted):
            raise NetworkError(
                f"training.trainable: layer {name!r} would still move its statistics; set network.norm to frozen."
            )


def personal_names(network: nn.Module, personal: tuple[str, ...], n_classes: int) -> frozenset[str]:
    """Names of the tensors that stay at the silo: `norm`, `head`, or those of the named sub-modules. Raises NetworkError."""
    return _names(network, personal, n_classes, "federation.personal")


def _names(network: nn.Module, parts: tuple[str, ...], n_classes: int, key: str) -> frozenset[str]:
    known = {"norm": _norm_modules(network), "head": head_modules(network, n_classes)}
    names: set[str] = set()
    for part in parts:
        modules = known.get(part, [part])
        found = {name for name in network.state_dict() if any(name.startswith(f"{module}.") for module in modules)}
        if not found:
            raise NetworkError(f"{key}: the network has no part {part!r} with weights of its own.")
        names |= found
    return frozenset(names)


def _norm_modules(network: nn.Module) -> list[str]:
    return [name for name, module in network.named_modules() if type(module).__name__.startswith(_NORMALISATION)]


def head_modules(network: nn.Module, n_classes: int) -> list[str]:
    """The last layer that answers one value per class."""
    outs = [
        name
        for name, module in network.named_modules()
        if n_classes in (getattr(module, "out_features", None), getattr(module, "out_channels", None))
    ]
    return outs[-1:]


def shared_layout(network: nn.Module, personal: frozenset[str]) -> Layout:
    """The floating-point tensors that travel, in the network's own order. Raises NetworkError if nothing would.

    What stays as it was built does not travel: parameters that are not trained and frozen statistics.
    """
    still = _frozen_names(network)
    entries = tuple(
        (name, tuple(tensor.shape))
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point() and name not in personal and name not in still
    )
    if not entries:
        raise NetworkError(
            "nothing is left to federate: federation.personal and training.trainable keep every part where it is."
        )
    return Layout(entries)


def _frozen_names(network: nn.Module) -> frozenset[str]:
    from protocol.normalisation import FrozenBatchNorm

    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    for module_name, module in network.named_modules():
        if isinstance(module, FrozenBatchNorm):
            frozen |= {f"{module_name}.{name}" for name, _ in module.named_buffers()}
    return frozenset(frozen)
