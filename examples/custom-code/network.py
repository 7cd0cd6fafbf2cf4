"""A small network with group normalisation, and the focal loss: both named in plan.yaml, as code.SmallNet and code.focal.

It runs at the hospitals without network, files and keys, on one patient at a time (docs/custom-code.md).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """Halves height and width. GroupNorm and not BatchNorm: each patient is seen alone."""

    def __init__(self, inputs: int, outputs: int, groups: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
        self.norm = nn.GroupNorm(groups, outputs)

    def forward(self, images: Tensor) -> Tensor:
        """(n, inputs, height, width) to (n, outputs, height / 2, width / 2)."""
        return functional.silu(self.norm(self.convolution(images)))


class SmallNet(nn.Module):
    """Images (n, channels, height, width) to logits (n, classes). `widths`: channels after each block."""

    def __init__(self, channels: int, classes: int, widths: list[int], groups: int = 4) -> None:
        super().__init__()
        steps = zip([channels, *widths[:-1]], widths, strict=True)
        self.blocks = nn.Sequential(*(Block(inputs, outputs, groups) for inputs, outputs in steps))
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, classes)."""
        return self.head(self.blocks(images).mean(dim=(2, 3)))


GAMMA = 2.0  # how much less an image counts that is classified well; 0 is cross-entropy


def focal(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean focal loss (Lin et al. 2017) of logits (n, classes) against labels (n,)."""
    log_p = functional.log_softmax(logits, dim=1).gather(1, labels[:, None]).squeeze(1)
    return -((1.0 - torch.exp(log_p)) ** GAMMA * log_p).mean()
