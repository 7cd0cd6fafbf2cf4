"""An update as the bytes that travel up, and back: what `federation.compression` names, on both sides of the wire.

Which form it is follows from the plan, whose digest stands in every address, so the bytes need no tag; their length is fixed by
the plan and the network, so it says nothing of the values. Everything is little-endian:

none       float32 of every value
quantised  float32 scale of every 1024 values, then an integer of 8 or 16 bits for every value: value = integer * scale.
           QSGD (Alistarh et al. 2017, NeurIPS) with the largest value of a block in place of its L2 norm
top_k      uint32 place of each value sent, ascending, then those values as if quantised to 16 bits (Stich et al. 2018, NeurIPS)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from protocol.errors import TrainingError, UpdateError
from protocol.plan.compression import Compression, NoCompression, Quantised, TopK
from protocol.rounding import Rounding
from protocol.vectors import Vector, from_wire, to_wire

BLOCK = 1024  # values that share a scale
_CHUNK = 64 * BLOCK  # values at a time: temporaries stay in the second-level cache
_LARGEST = 1e38  # beyond it an integer times its scale could leave float32
_KEPT_BITS = 16


def compress(how: Compression, update: Vector, rounding: Rounding) -> memoryview:
    """The bytes of `update`, shape (n,). Raises TrainingError if a value is not finite."""
    if isinstance(how, NoCompression):
        return to_wire(update)
    if not np.isfinite(update).all():
        raise TrainingError("the update holds a value that is not finite; nothing left. Lower training.optimizer.lr.")
    if isinstance(how, Quantised):
        return memoryview(_quantise(update, how.bits, rounding))
    places = _largest(update, n_kept(how, update.size))
    return memoryview(places.astype("<u4").tobytes() + _quantise(update[places], _KEPT_BITS, rounding))


def decompress(how: Compression, data: memoryview | bytes, size: int) -> Vector:
    """The update of `size` values in `data`; it may hold values that are not finite.

    Raises UpdateError for any other form, MessageError if float32 end within a value.
    """
    if isinstance(how, NoCompression):
        update = from_wire(data)
        if update.size != size:
            raise UpdateError(f"the update has {update.size} values, the model {size}; it was not used.")
        return update
    if len(data) != n_bytes(how, size):
        raise UpdateError(
            f"the update has {len(data)} bytes, one of this plan and network has {n_bytes(how, size)}; it was not used."
        )
    if isinstance(how, Quantised):
        return _restore(data, 0, size, how.bits)
    kept = n_kept(how, size)
    places = np.frombuffer(data, dtype="<u4", count=kept)
    if int(places[-1]) >= size or not (places[:-1] < places[1:]).all():
        raise UpdateError("the places of the update's values do not ascend within the model; it was not used.")
    update = np.zeros(size, dtype=np.float32)
    update[places] = _restore(data, 4 * kept, kept, _KEPT_BITS)
    return update


def n_bytes(how: Compression, size: int) -> int:
    """Length of an update of `size` values, in bytes."""
    if isinstance(how, NoCompression):
        return 4 * size
    if isinstance(how, Quantised):
        return 4 * _n_blocks(size) + size * how.bits // 8
    kept = n_kept(how, size)
    return 4 * kept + 4 * _n_blocks(kept) + kept * _KEPT_BITS // 8


def n_kept(how: TopK, size: int) -> int:
    """How many of `size` values are sent: at least one."""
    return max(1, round(how.fraction * size))


def _largest(update: Vector, kept: int) -> npt.NDArray[np.int64]:
    """Places of the `kept` values largest in size, ascending; of equal ones the first."""
    sizes = np.abs(update)
    least = np.partition(sizes, update.size - kept)[update.size - kept]
    above = np.flatnonzero(sizes > least)
    equal = np.flatnonzero(sizes == least)[: kept - above.size]
    return np.sort(np.concatenate([above, equal]))


def _quantise(values: Vector, bits: int, rounding: Rounding) -> bytes:
    levels = 2 ** (bits - 1) - 1
    scales, integers = np.empty(_n_blocks(values.size), dtype="<f4"), np.empty(values.size, dtype=f"<i{bits // 8}")
    for start in range(0, values.size, _CHUNK):
        chunk = values[start : start + _CHUNK]
        blocks = np.zeros((_n_blocks(chunk.size), BLOCK))
        flat = blocks.reshape(-1)[: chunk.size]
        np.clip(chunk, -_LARGEST, _LARGEST, out=flat)
        exact = np.abs(blocks).max(axis=1) / levels
        scale = exact.astype(np.float32)
        # Up, never down: a scale that is too small by its last bit would push the largest value over the last integer.
        scale = np.where(scale < exact, np.nextafter(scale, np.float32(np.inf)), scale)
        blocks /= np.where(scale > 0, scale, 1)[:, np.newaxis]
        rounding.round(flat)
        scales[start // BLOCK : start // BLOCK + len(scale)] = scale
        integers[start : start + _CHUNK] = flat
    return scales.tobytes() + integers.tobytes()


def _restore(data: memoryview | bytes, offset: int, count: int, bits: int) -> Vector:
    n = _n_blocks(count)
    scales = np.frombuffer(data, dtype="<f4", count=n, offset=offset)
    integers = np.frombuffer(data, dtype=f"<i{bits // 8}", count=count, offset=offset + 4 * n)
    values = integers.astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # whoever takes it in looks for what is not finite
        for start in range(0, count, _CHUNK):
            chunk = values[start : start + _CHUNK]
            chunk *= np.repeat(scales[start // BLOCK : start // BLOCK + _n_blocks(chunk.size)], BLOCK)[: chunk.size]
    return values


def _n_blocks(size: int) -> int:
    return -(-size // BLOCK)
