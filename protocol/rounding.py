"""Stochastic rounding: up with the chance of the fraction, so that what is rounded is right on average (unbiased).

The bits come from a public seed, not from the operating system: rounding hides nothing. What must stay private was noised
before it, and a job that was killed has to round the same update to the same integers again.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

_BLOCK = 1 << 16  # values at a time: their bits stay in the second-level cache
_ZEROS = bytes(4 * _BLOCK)  # what is encrypted: the keystream itself comes out


class Rounding:
    """One stream of rounding decisions, a function of `seed` (63 bits) alone: AES-256-CTR, the same on every machine."""

    def __init__(self, seed: int) -> None:
        key = hashlib.sha256(seed.to_bytes(8, "big")).digest()
        self._stream = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()
        self._bits = np.empty(_BLOCK, dtype="<u4")
        self._shift = np.empty(_BLOCK, dtype=np.float64)

    def round(self, values: npt.NDArray[np.float64]) -> None:
        """Replace each of `values`, shape (n,), by one of its two neighbouring integers; an integer stays as it is.

        The chance is right to 2^-32. Values must be below 2^20 in size: beyond, the sum with 32 bits is no longer exact.
        """
        for start in range(0, len(values), _BLOCK):
            part = values[start : start + _BLOCK]
            bits, shift = self._bits[: len(part)], self._shift[: len(part)]
            self._stream.update_into(memoryview(_ZEROS)[: 4 * len(part)], bits.data.cast("B"))
            np.multiply(bits, 2.0**-32, out=shift)
            part += shift
            np.floor(part, out=part)
