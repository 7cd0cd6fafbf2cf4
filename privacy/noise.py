"""Integer noise for differential privacy: the discrete Gaussian and the discrete Laplace distribution, exact, from SecureBits.

The discrete Gaussian (Canonne, Kamath, Steinke 2020: P(x) ~ exp(-x^2 / 2 sigma^2) on the integers) is drawn by rejection from
a staircase over the curve f(x) = peak * exp(-x^2 / 2 sigma^2). The integers are cut into strips of 2^shift; each strip is
covered by cells one unit high, 2^16 in all, every cell as likely as any other:

    cell below the curve on its whole strip   -> first + offset is the answer, no float was involved     (19 of 20 draws)
    cell that the curve crosses, at level j   -> accept x if a uniform height in [j, j + 1) is below f(x)
    padding, or not accepted                  -> draw again

So one 32-bit word (64 for sigma >= 2^23) gives a sample. The crossed cells compare a 64-bit word in floating point and, where
that is within 2^-30 of the threshold, 128 bits with f(x) to 60 digits. What remains inexact: 2^-128 a comparison, and the tail
beyond 12 sigma, whose probability is below 4e-33, is cut off. Over 10^12 samples the total variation distance to the ideal is
below 1e-20, and that (times 1 + e^epsilon) is all it can add to delta, which is 1e-6 or so.
"""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from privacy.randomness import Integers, SecureBits
from privacy.staircase import CELL_BITS, DIGITS, Staircase, staircase
from protocol.errors import PrivacyError

MIN_SCALE, MAX_SCALE = 0.1, 2.0**40
_CHUNK = 1 << 15  # samples: words, cells and results stay in the second-level cache


def discrete_gaussian(n: int, sigma: float, bits: SecureBits | None = None) -> Integers:
    """n independent samples of N_Z(0, sigma^2), shape (n,); see the module for how exact they are.

    sigma, in units of the integer grid, lies in [0.1, 2^40]. Raises PrivacyError for a sigma or a number out of range.
    """
    _check(n, sigma, "sigma")
    bits, stairs = bits or SecureBits(), staircase(float(sigma))
    samples = np.empty(n, dtype=np.int64)
    for start in range(0, n, _CHUNK):
        _draw(samples[start : start + _CHUNK], stairs, bits)
    return samples


def discrete_laplace(n: int, scale: float, bits: SecureBits | None = None) -> Integers:
    """n independent samples with P(x) ~ exp(-|x| / scale) on the integers, shape (n,).

    The difference of two geometric variables, P(g) ~ exp(-g / scale). The binary digits of such a variable are independent,
    digit j being 1 with probability 1 / (1 + exp(2^j / scale)): each is one comparison of 128 uniform bits with an integer.
    Digits less likely than 2^-128 are left out. Raises PrivacyError for a scale outside [0.1, 2^40] or a negative number.
    """
    _check(n, scale, "scale")
    bits = bits or SecureBits()
    first, second = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    for digit, (high, low) in enumerate(_digit_thresholds(float(scale))):
        for geometric in (first, second):
            geometric += _below(n, high, low, bits).astype(np.int64) << digit
    first -= second
    return first


def _check(n: int, scale: float, name: str) -> None:
    if n < 0:
        raise PrivacyError(f"cannot draw {n} samples of noise.")
    if not (math.isfinite(scale) and MIN_SCALE <= scale <= MAX_SCALE):
        raise PrivacyError(f"the noise's {name} must lie between {MIN_SCALE} and 2^40 steps of the integer grid, not {scale}.")


def _draw(samples: Integers, stairs: Staircase, bits: SecureBits) -> None:
    """Fill `samples`; slots that were not accepted are drawn again."""
    # The cell is the highest 16 bits of a word, the offset in the strip the lowest `shift`: they do not overlap.
    width, kind = (32, np.uint32) if CELL_BITS + stairs.shift <= 32 else (64, np.uint64)
    words: npt.NDArray[Any] = np.empty(len(samples), dtype=kind)
    bits.fill(words)
    cells = (words >> kind(width - CELL_BITS)).astype(np.int64)
    np.take(stairs.base, cells, out=samples, mode="clip")  # (without a mode, numpy would copy `samples` twice)
    samples += (words & kind((1 << stairs.shift) - 1)).astype(np.int64)
    crossed = np.flatnonzero(cells >= stairs.inner)
    if crossed.size:
        refused = crossed[~stairs.accept(samples[crossed], cells[crossed], bits)]
        if refused.size:
            again = np.empty(refused.size, dtype=np.int64)
            _draw(again, stairs, bits)
            samples[refused] = again


@lru_cache(maxsize=16)
def _digit_thresholds(scale: float) -> tuple[tuple[int, int], ...]:
    """floor(2^128 / (1 + exp(2^j / scale))) as two 64-bit words, for each digit j until that is 0."""
    thresholds: list[tuple[int, int]] = []
    with localcontext() as context:
        context.prec = DIGITS
        while threshold := int(Decimal(2**128) / (1 + (Decimal(2 ** len(thresholds)) / Decimal(scale)).exp())):
            thresholds.append(divmod(threshold, 2**64))
    return tuple(thresholds)


def _below(n: int, high: int, low: int, bits: SecureBits) -> npt.NDArray[np.bool_]:
    """n independent events of probability (high * 2^64 + low) / 2^128. The second word is drawn only where it decides."""
    words = bits.words(n)
    result: npt.NDArray[np.bool_] = words < np.uint64(high)
    ties = np.flatnonzero(words == np.uint64(high))
    if ties.size:
        result[ties] = bits.words(ties.size) < np.uint64(low)
    return result
