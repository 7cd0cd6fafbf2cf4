"""Real values as integers modulo 2^width and back, and the proof that a sum of them cannot wrap around."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from privacy.secure_aggregation.masking import Unsigned, dtype_of
from protocol.errors import PrivacyError
from protocol.rounding import Rounding

Floats = npt.NDArray[np.floating[Any]]

WIDTHS = (16, 32, 64)
_BLOCK = 1 << 16


def check_width(n_silos: int, bound: float, scale_bits: int, width_bits: int) -> None:
    """Refuse a width in which the sum of `n_silos` values in [-bound, bound], in steps of 2^-scale_bits, may wrap around.

    Raises PrivacyError with the arithmetic in words.
    """
    _check(bound, scale_bits, width_bits)
    if n_silos < 1:
        raise PrivacyError(f"a sum of {n_silos} silos is no sum.")
    steps, room = _steps(bound, scale_bits), 2 ** (width_bits - 1) - 1
    if n_silos * steps > room:
        raise PrivacyError(
            f"{n_silos} silos x {bound:g} x 2^{scale_bits} reach {n_silos * steps}, but a signed sum of {width_bits} bits "
            f"holds {room} at most: use fewer scale bits (at most {_most_scale_bits(n_silos, bound, room)} here), a smaller "
            f"bound, or a wider sum."
        )


def quantise(values: Floats, scale_bits: int, bound: float, width_bits: int, rounding: Rounding | None = None) -> Unsigned:
    """Whole steps of 2^-scale_bits, shape (n,), as unsigned integers modulo 2^width_bits: the nearest, or as `rounding` says.

    The nearest of a value below half a step is 0 for ever; with few bits only stochastic `rounding` lets small values through.
    Values beyond +-bound are CLIPPED to it, silently: choose the bound so that this is rare, or part of the mechanism.
    Raises PrivacyError for NaN or infinity, for floats other than of 32 or 64 bits, and for a width that cannot hold one value.
    """
    check_width(1, bound, scale_bits, width_bits)
    if values.ndim != 1 or values.dtype not in (np.float32, np.float64):
        raise PrivacyError(f"a flat vector of 32 or 64-bit floats can be sent, not {values.dtype} of shape {values.shape}.")
    result: Unsigned = np.empty(len(values), dtype=dtype_of(width_bits))
    signed, limit = result.view(f"<i{width_bits // 8}"), _steps(bound, scale_bits)
    for start in range(0, len(values), _BLOCK):
        block = values[start : start + _BLOCK].astype(np.float64)
        if not np.isfinite(block).all():
            raise PrivacyError("the vector holds NaN or infinity and was not sent; training diverged, or its data are damaged.")
        np.clip(block, -bound, bound, out=block)
        # In floating point the product may be off by a unit in the last place where it exceeds 2^53; never beyond the limit.
        block *= 2.0**scale_bits
        if rounding is None:
            np.rint(block, out=block)
        else:
            rounding.round(block)
        steps = block.astype(np.int64)
        np.clip(steps, -limit, limit, out=signed[start : start + _BLOCK], casting="same_kind")
    return result


def dequantise(total: npt.NDArray[np.signedinteger[Any]], scale_bits: int, n: float) -> npt.NDArray[np.float32]:
    """The centred sum of steps of 2^-scale_bits divided by n, silos or their summed weights (1: the sum); shape (values,)."""
    if not n > 0:
        raise PrivacyError(f"a mean of {n:g} silos is no mean.")
    result = np.empty(len(total), dtype=np.float32)
    for start in range(0, len(total), _BLOCK):
        block = total[start : start + _BLOCK].astype(np.float64)
        block /= n
        block *= 2.0**-scale_bits
        result[start : start + _BLOCK] = block
    return result


def _check(bound: float, scale_bits: int, width_bits: int) -> None:
    if width_bits not in WIDTHS:
        raise PrivacyError(f"sums have 16, 32 or 64 bits, not {width_bits}; set modulus_bits.")
    if not 0 <= scale_bits <= 52:
        raise PrivacyError(f"scale_bits must lie between 0 and 52, not {scale_bits}.")
    if not (math.isfinite(bound) and bound > 0):
        raise PrivacyError(f"the bound of a value must be a positive number, not {bound}.")


def _steps(bound: float, scale_bits: int) -> int:
    return math.ceil(Fraction(bound) * (1 << scale_bits))


def _most_scale_bits(n_silos: int, bound: float, room: int) -> int | str:
    return max((bits for bits in range(53) if n_silos * _steps(bound, bits) <= room), default="none")
