"""Is a built network fit for patient-level gradients? Looked at as built, never by its arguments.

Names of arguments lie: MONAI 1.6 leaves BatchNorm in `resnet18(norm=("group", ...))`. A layer that remembers what it has
seen carries patients from one step to the next without noise, so it is refused.

A network of the plan's own module is looked at twice. In a process of the module `refuse_memory` is advice to its author: what
it would catch ends with each patient's process, so nobody is harmed if the module hides it; but such a layer would be scored
with statistics that it never learned. Outside, on tensors that the module cannot reach, `refuse_unlearned` is what the promise
rests on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocol.errors import NetworkError
from protocol.normalisation import keeps_statistics
from protocol.vectors import Layout

if TYPE_CHECKING:
    from torch import nn

_FIX = (
    "With a MONAI network set network.norm to group, or with public weights to frozen; in a module of your own write "
    "GroupNorm, and leave network.norm out."
)


def refuse_memory(network: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Raises NetworkError naming the first layer that keeps statistics, or whose buffers move in a training pass.

    `input_shape` is (C, H, W). The pass uses random images; the network is left as it was.
    """
    import torch

    layers = [name for name, layer in network.named_modules() if keeps_statistics(layer)]
    if layers:
        kind = type(network.get_submodule(layers[0])).__name__
        more = f" and {len(layers) - 1} more" if len(layers) > 1 else ""
        raise NetworkError(f"network: layer {layers[0]!r} is a {kind}{more}; it keeps statistics of patients. {_FIX}")
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    mode = network.training
    device = next(network.parameters()).device
    network.train()
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            network(torch.rand(2, *input_shape, device=device))
        moved = [name for name, buffer in network.named_buffers() if not torch.equal(buffer, before[name])]
    finally:
        network.train(mode)
        for name, buffer in network.named_buffers():
            buffer.data.copy_(before[name])
    if moved:
        layer = moved[0].rpartition(".")[0]
        raise NetworkError(f"network: layer {layer!r} changes its buffer {moved[0]!r} while it trains. {_FIX}")


def refuse_unlearned(network: nn.Module, layout: Layout) -> None:
    """Raises NetworkError if something would travel that no clipped and noised gradient made."""
    learned = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    if stray := [name for name, _ in layout.entries if name not in learned]:
        raise NetworkError(f"network: {stray[0]!r} would leave the hospital without noise: it is no trained parameter. {_FIX}")
