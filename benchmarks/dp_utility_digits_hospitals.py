"""Hospitals that share scikit-learn's digits among them, and the small network, for dp_utility_digits.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from protocol.vectors import Vector

INPUTS, HIDDEN, CLASSES = 64, 32, 10
SHAPES = ((INPUTS, HIDDEN), (HIDDEN,), (HIDDEN, CLASSES), (CLASSES,))
SIZES = [int(np.prod(shape)) for shape in SHAPES]
SIZE = sum(SIZES)
SKEW = 0.5


@dataclass(frozen=True)
class Images:
    """Images (n, 64), 0 to 1, and labels (n,)."""

    pixels: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, which: Any) -> Images:
        return Images(self.pixels[which], self.labels[which])


def hospitals(silos: int, seed: int) -> tuple[list[Images], Images]:
    """Four fifths of the digits, each class dealt to the hospitals in shares of Dirichlet(0.5); and the rest, for testing."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    train, test = train_test_split(np.arange(len(labels)), test_size=0.2, random_state=seed, stratify=labels)
    everything = Images(torch.tensor(pixels / 16.0, dtype=torch.float32), torch.tensor(labels))
    rng, dealt = np.random.default_rng(seed), [[] for _ in range(silos)]
    for label in range(CLASSES):
        of_class = train[labels[train] == label]
        rng.shuffle(of_class)
        cuts = (np.cumsum(rng.dirichlet([SKEW] * silos))[:-1] * len(of_class)).astype(int)
        for mine, part in zip(dealt, np.split(of_class, cuts), strict=True):
            mine.extend(part.tolist())
    return [everything[mine] for mine in dealt], everything[test]


def first_weights(seed: int) -> Vector:
    """Small and public."""
    weights: Vector = (0.1 * torch.randn(SIZE, generator=torch.Generator().manual_seed(seed))).numpy()
    return weights


def _layers(weights: torch.Tensor) -> list[torch.Tensor]:
    return [part.view(shape) for part, shape in zip(weights.split(SIZES), SHAPES, strict=True)]


def gradients(weights: torch.Tensor, images: Images) -> torch.Tensor:
    """Each image's own gradient of the cross-entropy, shape (n, SIZE)."""
    first, bias, second, last = _layers(weights)
    hidden = torch.tanh(images.pixels @ first + bias)
    of_logits = (hidden @ second + last).softmax(1) - functional.one_hot(images.labels, CLASSES)
    of_hidden = (of_logits @ second.T) * (1.0 - hidden * hidden)
    outer = [(a[:, :, None] * b[:, None, :]).flatten(1) for a, b in ((images.pixels, of_hidden), (hidden, of_logits))]
    return torch.cat([outer[0], of_hidden, outer[1], of_logits], 1)


def accuracy(weights: Vector, images: Images) -> float:
    """Share of images whose largest logit is the right one."""
    first, bias, second, last = _layers(torch.from_numpy(weights))
    found = (torch.tanh(images.pixels @ first + bias) @ second + last).argmax(1)
    return float((found == images.labels).double().mean())
