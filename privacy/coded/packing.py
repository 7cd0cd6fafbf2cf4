"""Tensors of a network as one flat array a type, the way they travel to and from a process; both sides know the layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from protocol.errors import CodeError

Array = npt.NDArray[np.generic]
TYPES = ("float32", "float64", "int64", "int32", "uint8", "bool")
"""What a tensor that belongs to a network may be made of."""


@dataclass(frozen=True, slots=True)
class Spec:
    """One tensor: its name in the network, its shape, and one of TYPES."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """Number of values."""
        return int(np.prod(self.shape, dtype=np.int64))


def n_bytes(specs: Sequence[Spec]) -> int:
    """What the tensors take on the way."""
    return sum(spec.size * np.dtype(_on_wire(spec.dtype)).itemsize for spec in specs)


def pack(specs: Sequence[Spec], tensors: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    """{prefix + type: all tensors of that type, in order, flat}; copies."""
    packed = {}
    for dtype in TYPES:
        parts = [np.asarray(tensors[spec.name], dtype=_on_wire(dtype)).reshape(-1) for spec in specs if spec.dtype == dtype]
        if parts:
            packed[f"{prefix}{dtype}"] = np.concatenate(parts)
    return packed


def unpack(specs: Sequence[Spec], arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    """The tensors again, as views. Raises CodeError unless each array is there with exactly the values it needs."""
    tensors = {}
    for dtype in TYPES:
        wanted = [spec for spec in specs if spec.dtype == dtype]
        if not wanted:
            continue
        flat, start = checked(arrays, f"{prefix}{dtype}", _on_wire(dtype), (sum(spec.size for spec in wanted),)), 0
        for spec in wanted:
            tensors[spec.name] = flat[start : start + spec.size].reshape(spec.shape).astype(dtype, copy=False)
            start += spec.size
    return tensors


def checked(arrays: Mapping[str, Array], name: str, dtype: str, shape: tuple[int, ...]) -> Array:
    """The array of that name. Raises CodeError if it is missing, of another type or of another shape."""
    found = arrays.get(name)
    if found is None or found.dtype != np.dtype(dtype) or found.shape != shape:
        raise CodeError("the plan's own module answered in another shape than the plan's network has.")
    return found


def _on_wire(dtype: str) -> str:
    """Truth values travel as bytes."""
    return "uint8" if dtype == "bool" else dtype
