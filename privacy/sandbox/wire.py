"""Questions to a fork and its answers: a length, a JSON header, the arrays' bytes. Never pickle; every number has a bound.

A frame is 4 bytes (length of the header, big-endian), the header, and the bytes of each array in the header's order,
little-endian and in C order. What comes out of a fork was written by the plan's module: it is checked as such.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

import msgspec
import numpy as np

from protocol.errors import MessageError

MAX_HEADER = 4 * 2**20
MAX_ARRAYS = 10_000
MAX_DIMENSIONS = 16
TYPES = {"float32": "<f4", "float64": "<f8", "int64": "<i8", "int32": "<i4", "uint8": "|u1", "int8": "|i1"}

type_names = {np.dtype(code): name for name, code in TYPES.items()}

Values = dict[str, Any]
"""JSON values by name."""
Arrays = Mapping[str, np.ndarray]
Task = Callable[[dict[str, Any], Values, Arrays], tuple[Values, Arrays]]
"""(what the fork remembers, values, arrays) -> (values, arrays). It runs in a fork."""
Shapes = Mapping[str, tuple[str, tuple[int, ...]]]
"""Name -> (type of TYPES, shape): what an answer must hold, and nothing else."""

_Dimension = Annotated[int, msgspec.Meta(ge=0, le=2**40)]


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One array of a frame."""

    name: Annotated[str, msgspec.Meta(max_length=1000)]
    type: Annotated[str, msgspec.Meta(max_length=16)]
    shape: Annotated[list[_Dimension], msgspec.Meta(max_length=MAX_DIMENSIONS)]

    @property
    def n_bytes(self) -> int:
        """Its size on the wire. Raises MessageError for a type that no array may have."""
        if self.type not in TYPES:
            raise MessageError(f"array {self.name!r}: type {self.type!r} is not one of {', '.join(TYPES)}.")
        return math.prod(self.shape) * np.dtype(TYPES[self.type]).itemsize


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What stands before the arrays. `task` names a task; in an answer it is empty, and `failed` says why there is none."""

    arrays: Annotated[list[Entry], msgspec.Meta(max_length=MAX_ARRAYS)] = []
    values: dict[str, Any] = {}
    task: Annotated[str, msgspec.Meta(max_length=100)] = ""
    failed: Annotated[str, msgspec.Meta(max_length=10_000)] | None = None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Header)
_length = struct.Struct(">I")
LENGTH = _length.size


def pack(task: str, values: Values, arrays: Arrays) -> list[memoryview]:
    """A frame in pieces, the arrays uncopied where they are little-endian and contiguous. Raises MessageError."""
    entries, pieces = [], []
    for name, array in arrays.items():
        kind = type_names.get(array.dtype.newbyteorder("<"))
        if kind is None:
            raise MessageError(f"array {name!r} is of {array.dtype}, which the sandbox does not carry: {', '.join(TYPES)}.")
        entries.append(Entry(name, kind, list(array.shape)))
        pieces.append(np.ascontiguousarray(array, dtype=TYPES[kind]).reshape(-1).view(np.uint8).data)
    return [memoryview(pack_header(Header(entries, values, task))), *pieces]


def pack_header(header: Header) -> bytes:
    """The frame's first bytes, length included. Raises MessageError if it is too long or holds what JSON does not."""
    try:
        data = _encoder.encode(header)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise MessageError(f"the values are not JSON: {error}") from error
    if len(data) > MAX_HEADER:
        raise MessageError(f"{len(data)} bytes of header; {MAX_HEADER} fit. Send large values as arrays.")
    return _length.pack(len(data)) + data


def header_length(data: bytes) -> int:
    """The number in a frame's first four bytes. Raises MessageError if no header is that long."""
    (length,) = _length.unpack(data)
    if not 0 < length <= MAX_HEADER:
        raise MessageError(f"a header of {length} bytes.")
    return int(length)


def parse_header(data: bytes | bytearray, most_bytes: int) -> Header:
    """The header in `data`; its arrays have at most `most_bytes` together. Raises MessageError."""
    try:
        header = _decoder.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise MessageError(f"not a header: {error}") from error
    if len({entry.name for entry in header.arrays}) != len(header.arrays):
        raise MessageError("two arrays of one name.")
    total = 0
    for entry in header.arrays:
        total += entry.n_bytes
        if total > most_bytes:
            raise MessageError(f"more than {most_bytes} bytes of arrays.")
    return header


def empty_arrays(header: Header) -> Iterator[tuple[np.ndarray, memoryview]]:
    """Each array of the header, to be filled through its view. Raises MessageError for a shape that numpy has none of."""
    for entry in header.arrays:
        try:
            array = np.empty(tuple(entry.shape), dtype=TYPES[entry.type])
        except ValueError as error:  # of no bytes, and still too large for its other dimensions
            raise MessageError(f"array {entry.name!r} is of a shape that no array can have.") from error
        yield array, array.reshape(-1).view(np.uint8).data


def refuse_other(header: Header, wanted: Shapes) -> None:
    """Raises MessageError unless the header has just the arrays that are `wanted`, of these types and shapes."""
    entries = {entry.name: (entry.type, tuple(entry.shape)) for entry in header.arrays}
    if entries.keys() != wanted.keys():
        raise MessageError("other arrays than were asked for.")
    for name, (kind, shape) in wanted.items():
        if entries[name] != (kind, tuple(shape)):
            raise MessageError(f"array {name!r} is {entries[name]}; asked for {kind} {tuple(shape)}.")


def refuse_not_finite(name: str, array: np.ndarray) -> None:
    """Raises MessageError if a number of `array` is not finite."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise MessageError(f"array {name!r} holds numbers that are not finite.")
