"""Masks: AES-256-CTR keystreams read as little-endian unsigned integers, added to a vector modulo 2^width.

The 256-bit key is used whole and for one mask only, so the counter starts at zero. A block of the vector takes all masks
before the next block is touched: block and keystream stay in the second-level cache and the vector passes memory once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

Unsigned = npt.NDArray[np.unsignedinteger[Any]]

BLOCK_BYTES = 1 << 18
_ZEROS = bytes(BLOCK_BYTES)  # what is encrypted: the keystream itself comes out


def dtype_of(width_bits: int) -> np.dtype[np.unsignedinteger[Any]]:
    """The little-endian unsigned integer of 16, 32 or 64 bits: what travels."""
    return np.dtype(f"<u{width_bits // 8}")


def add_masks(
    vector: Unsigned,
    plus: Iterable[bytes],
    minus: Iterable[bytes],
    out: Unsigned | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Unsigned:
    """vector + masks of the keys `plus` - masks of the keys `minus`, modulo 2^width; shape (n,), into `out` if given.

    Keys have 32 bytes. `out` may be `vector` itself. Memory beyond the result: one block of 256 kB and about 1 kB a key.
    `progress` is called with the number of values done since the last call.
    """
    result: Unsigned = np.empty_like(vector) if out is None else out
    streams = [(_keystream(key), np.add) for key in plus] + [(_keystream(key), np.subtract) for key in minus]
    block = BLOCK_BYTES // vector.itemsize
    mask = np.empty(block, dtype=vector.dtype)
    buffer = mask.data.cast("B")
    for start in range(0, len(vector), block):
        part = result[start : start + block]
        part[...] = vector[start : start + block]
        bits = memoryview(_ZEROS)[: part.nbytes]
        for stream, apply in streams:
            stream.update_into(bits, buffer)
            apply(part, mask[: len(part)], out=part)
        progress(len(part))
    return result


def _keystream(key: bytes) -> Any:
    return Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()
