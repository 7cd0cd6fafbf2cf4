"""Randomness for privacy: AES-256-CTR keyed by the operating system, and exact choices made from its bits.

Nothing here can be seeded, and numpy's and torch's generators are never used: who can guess the noise or the sampled patients
can undo them. Every decision compares an integer of uniform bits with an integer threshold; no float is a random number.
"""

from __future__ import annotations

import math
import os
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from protocol.errors import PrivacyError

Words = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int64]

_ZEROS = bytes(1 << 17)  # what is encrypted: the keystream itself comes out


class SecureBits:
    """A stream of uniform bits from AES-256 in counter mode, key and nonce from os.urandom. One per thread.

    A process that was forked off takes a new key, so that parent and child never share noise.
    """

    def __init__(self) -> None:
        self._secret: bytes | None = None
        self._rekey()

    @classmethod
    def from_key(cls, key: bytes) -> SecureBits:
        """The stream of a secret of 32 bytes that came from os.urandom and is used for one release only.

        For going on after a crash: the release that was interrupted is drawn again and comes out the same. Whoever knows the
        key can undo the noise, so it is kept inside the hospital and deleted when the release is made.
        """
        if len(key) != 32:
            raise PrivacyError("a secret to draw from has 32 bytes; it is damaged. Start a new job.")
        bits = cls.__new__(cls)
        bits._secret, bits._owner = key, os.getpid()
        bits._stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
        return bits

    def _rekey(self) -> None:
        self._owner = os.getpid()
        self._stream = Cipher(algorithms.AES(os.urandom(32)), modes.CTR(os.urandom(16))).encryptor()

    def words(self, n: int) -> Words:
        """n fresh uniform 64-bit words, shape (n,)."""
        words = np.empty(n, dtype=np.uint64)
        self.fill(words)
        return words

    def fill(self, array: npt.NDArray[Any]) -> None:
        """Overwrite a contiguous array of unsigned integers with fresh uniform bits; spares the allocation."""
        if os.getpid() != self._owner:
            if self._secret is not None:
                raise PrivacyError("a process that was forked off may not draw from its parent's secret.")
            self._rekey()
        target = array.data.cast("B")
        for start in range(0, len(target), len(_ZEROS)):
            part = target[start : start + len(_ZEROS)]
            self._stream.update_into(_ZEROS[: len(part)], part)

    def below(self, bounds: Words) -> Integers:
        """One uniform integer in [0, bound) for each bound, 1 <= bound < 2^63: what exceeds a whole multiple is redrawn."""
        limits = np.uint64(2**64 - 1) - (np.uint64(2**64 - 1) % bounds + np.uint64(1)) % bounds  # last word of a whole multiple
        words = self.words(len(bounds))
        while (redo := np.flatnonzero(words > limits)).size:
            words[redo] = self.words(redo.size)
        return (words % bounds).astype(np.int64)


def sample_patients(n: int, rate: float, bits: SecureBits | None = None) -> Integers:
    """Poisson sampling: the sorted indices of those of n patients that were drawn, each independently with `rate`.

    rate is in (0, 1]; 1 takes everybody. A patient is in if a 64-bit word is below floor(rate * 2^64), so the true rate is
    at most 2^-64 smaller than the one that is accounted for, never larger. The result may be empty, and the round must go on
    with noise alone. Raises PrivacyError for a rate or a number out of range.
    """
    if not (math.isfinite(rate) and 0.0 < rate <= 1.0):
        raise PrivacyError(f"a sampling rate must lie in (0, 1], not {rate}; set privacy.sampling_rate.")
    if n < 0:
        raise PrivacyError(f"cannot sample from {n} patients.")
    if rate == 1.0:
        return np.arange(n, dtype=np.int64)
    threshold = np.uint64(math.floor(Fraction(rate) * 2**64))
    return np.flatnonzero((bits or SecureBits()).words(n) < threshold).astype(np.int64)


def choose(n: int, k: int, bits: SecureBits | None = None) -> Integers:
    """k distinct indices of n, every ordered choice equally likely, shape (k,). Raises PrivacyError unless 0 <= k <= n.

    The first k steps of a Fisher-Yates shuffle.
    """
    if not 0 <= k <= n:
        raise PrivacyError(f"cannot choose {k} of {n}.")
    order = np.arange(n, dtype=np.int64)
    jumps = (bits or SecureBits()).below(np.arange(n, n - k, -1, dtype=np.uint64))
    for index, jump in enumerate(jumps):
        order[index], order[index + jump] = order[index + jump], order[index]
    return order[:k].copy()
