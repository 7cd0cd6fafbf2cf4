"""One patient's gradient: that of the mean loss over the patient's images, in one backward pass."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def patient_gradients(network: nn.Module, loss: Loss, images: torch.Tensor, labels: torch.Tensor) -> list[torch.Tensor]:
    """The gradient of `loss(network(images), labels)` with respect to each trainable parameter, in their order.

    `images` (n, C, ...) and `labels` (n, ...) are those of ONE patient, n >= 1, and `loss` is a mean over images. The network
    is used in the mode it is in and must hold no layer that mixes patients (BatchNorm). Parameters that the loss does not
    depend on get zeros. No hooks, no .grad: any network works, and nothing of one patient stays for the next.
    """
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    value = loss(network(images), labels)
    return list(torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True))
