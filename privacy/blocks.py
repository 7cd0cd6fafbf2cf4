"""Gradient tensors as a few flat blocks in the order in which they lie in memory, and back to one vector in logical order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from privacy.randomness import Integers
from protocol.errors import PrivacyError

Sums = npt.NDArray[np.int32] | Integers

_SMALL = 1 << 14  # tensors of fewer values share one block: a call costs more than copying them


class Blocks:
    """Where each tensor of a gradient lies: all small ones in the first block, each large one in its own.

    A tensor's values are taken as they lie in memory (channels last, for example) if that is dense, so that a large gradient
    is never copied. The first gradient decides; a later one that lies otherwise is copied into the same order.
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]]) -> None:
        self._shapes = [torch.Size(shape) for shape in shapes]
        sizes = [shape.numel() for shape in self._shapes]
        self._starts = [sum(sizes[:index]) for index in range(len(sizes))]
        self._orders: list[tuple[int, ...]] | None = None
        small = [index for index, size in enumerate(sizes) if size < _SMALL]
        large = [[index] for index, size in enumerate(sizes) if size >= _SMALL]
        self._members = [small, *large] if small else large
        self.size = sum(sizes)
        self.lengths = [sum(sizes[index] for index in members) for members in self._members]

    def pack(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The gradient as float32 blocks, flat; views where possible. Raises PrivacyError for other shapes."""
        if [tensor.shape for tensor in tensors] != self._shapes:
            raise PrivacyError("a patient's gradient has other shapes than the network's parameters; nothing was added.")
        if self._orders is None:
            self._orders = [_memory_order(tensor) for tensor in tensors]
        flat = [tensor.detach().permute(order).reshape(-1) for tensor, order in zip(tensors, self._orders, strict=True)]
        return [(flat[m[0]] if len(m) == 1 else torch.cat([flat[index] for index in m])).float() for m in self._members]

    def unpack(self, blocks: Iterable[npt.NDArray[Any]], vector: npt.NDArray[Any]) -> None:
        """Write the blocks into `vector`, shape (size,): tensor after tensor, each in its logical (row-major) order."""
        for members, block in zip(self._members, blocks, strict=True):
            start = 0
            for index in members:
                shape, offset = self._shapes[index], self._starts[index]
                order = self._orders[index] if self._orders else tuple(range(len(shape)))
                values = block[start : start + shape.numel()].reshape([shape[axis] for axis in order])
                vector[offset : offset + shape.numel()].reshape(shape).transpose(order)[...] = values
                start += shape.numel()


def _memory_order(tensor: torch.Tensor) -> tuple[int, ...]:
    """The axes from the slowest to the fastest in memory."""
    strides = tensor.stride()
    return tuple(sorted(range(tensor.ndim), key=lambda axis: -strides[axis]))
