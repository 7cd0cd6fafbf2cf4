"""A model's shared tensors as one flat float32 vector, and models as safetensors files.

The layout (names, shapes, order) is derived from the network on both sides and compared by digest, so a vector needs no
header. Integer buffers (a BatchNorm's step counter) and personal parts are not in it: they never travel.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from protocol.canonical import digest_bytes, digest_json
from protocol.errors import MessageError

Vector = npt.NDArray[np.float32]
Tensors = Mapping[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class Layout:
    """Where each shared tensor lies in the flat vector: (name, shape) in order."""

    entries: tuple[tuple[str, tuple[int, ...]], ...]

    @cached_property
    def size(self) -> int:
        """Number of float32 values."""
        return sum(int(np.prod(shape, dtype=np.int64)) for _, shape in self.entries)

    @cached_property
    def digest(self) -> str:
        """Equal on two sides if and only if their vectors mean the same."""
        return digest_json([[name, list(shape)] for name, shape in self.entries])

    def flatten(self, tensors: Tensors) -> Vector:
        """The tensors as one vector of `size` float32 values; a copy."""
        vector = np.empty(self.size, dtype=np.float32)
        for name, part in self._parts(vector):
            part[...] = tensors[name]
        return vector

    def unflatten(self, vector: Vector) -> dict[str, Vector]:
        """Views into `vector`, one per tensor. Raises MessageError if its length is another."""
        if vector.shape != (self.size,):
            raise MessageError(f"a vector of {vector.size} values does not fit a model of {self.size}; compare plan digests.")
        return dict(self._parts(vector))

    def _parts(self, vector: Vector) -> list[tuple[str, Vector]]:
        parts, start = [], 0
        for name, shape in self.entries:
            stop = start + int(np.prod(shape, dtype=np.int64))
            parts.append((name, vector[start:stop].reshape(shape)))
            start = stop
        return parts


def to_wire(vector: Vector) -> memoryview:
    """The raw little-endian bytes of `vector`, without a copy where the machine is little-endian."""
    return np.ascontiguousarray(vector, dtype="<f4").view(np.uint8).data


def from_wire(data: memoryview | bytes) -> Vector:
    """A read-only view on received bytes as float32. Raises MessageError if they are no whole number of values."""
    if len(data) % 4:
        raise MessageError(f"a vector of {len(data)} bytes is no whole number of float32 values.")
    return np.frombuffer(data, dtype="<f4")


def vector_digest(vector: Vector) -> str:
    """sha256 of the wire bytes: the identity of a global model in logs, receipts and the report."""
    return digest_bytes(to_wire(vector))


def save_tensors(path: Path, tensors: Tensors, metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file so that a reader sees the old file or the whole new one, even if the power fails."""
    partial = path.with_name(path.name + ".partial")
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, partial, dict(metadata or {}))
    with partial.open("rb") as handle:
        os.fsync(handle.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def load_tensors(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    """Read a safetensors file. Raises MessageError if it is damaged."""
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise MessageError(f"{path.name} is not a readable safetensors file: {error}") from error
