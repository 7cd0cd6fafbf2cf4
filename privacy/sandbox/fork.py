"""What runs in a fork of the nursery: it answers questions until its parent closes the channel. Everything here may be replaced
by the plan's module while it runs; nothing outside relies on it."""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from privacy.sandbox import module, wire

_CHUNK = 2**20
Buffer = TypeVar("Buffer", bytearray, memoryview)


def serve(channel: int, tasks: Mapping[str, wire.Task], tell: bool) -> None:
    """Answer on the descriptor `channel` until it ends. `tell`: say why a task failed; else only that it did."""
    gc.enable()
    state: dict[str, Any] = {}
    while True:
        try:
            task, values, arrays = _question(channel)
        except EOFError:
            return
        try:
            answer = wire.pack("", *tasks[task](state, values, arrays))
        except BaseException as error:  # sys.exit in the module as well
            text = module.where(error)[:2000] if tell else ""
            answer = [memoryview(wire.pack_header(wire.Header(failed=text)))]
        del arrays
        for piece in answer:
            _write(channel, piece)


def _question(channel: int) -> tuple[str, wire.Values, dict[str, np.ndarray]]:
    length = wire.header_length(bytes(_read(channel, bytearray(wire.LENGTH))))
    header = wire.parse_header(_read(channel, bytearray(length)), 2**62)  # the node asks; it may send what it likes
    arrays = {}
    for entry, (array, view) in zip(header.arrays, wire.empty_arrays(header), strict=True):
        _read(channel, view)
        arrays[entry.name] = array
    return header.task, header.values, arrays


def _read(channel: int, into: Buffer) -> Buffer:
    view = memoryview(into)
    while view:
        got = os.readv(channel, [view[:_CHUNK]])
        if not got:
            raise EOFError
        view = view[got:]
    return into


def _write(channel: int, piece: memoryview) -> None:
    while piece:
        piece = piece[os.write(channel, piece[:_CHUNK]) :]
