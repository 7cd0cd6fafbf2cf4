"""The table behind the discrete Gaussian: 2^16 equal cells that cover peak * exp(-x^2 / 2 sigma^2). See privacy.noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from privacy.randomness import Integers, SecureBits

CELL_BITS = 16
TAIL = 12.0  # standard deviations; what lies beyond is cut off: probability below 4e-33
# The curve in float64 is off by at most 11 * 2^-53 * 2^16 < 2^-33 (of which exp has 4 units in the last place).
BAND = 2.0**-30
DIGITS = 60


@dataclass(frozen=True, slots=True)
class Staircase:
    """The cells of one sigma. A strip is 2^shift neighbouring integers; a cell is one unit high over one strip."""

    sigma: float
    peak: int  # height of the curve at 0, in cells
    shift: int
    inner: int  # cells below this number lie under the curve altogether
    base: Integers  # (2^16,) first integer of the cell's strip
    level: npt.NDArray[np.float64]  # (2^16,) height of the cell's floor; above the curve for padding

    def accept(self, values: Integers, cells: Integers, bits: SecureBits) -> npt.NDArray[np.bool_]:
        """Whether a uniform height in [level, level + 1) lies below the curve at `values`, shape (n,), one cell each."""
        words, levels = bits.words(len(values)), self.level[cells]
        margin = self.peak * np.exp(-0.5 * np.square(values / self.sigma)) - levels - words * 2.0**-64
        accepted: npt.NDArray[np.bool_] = margin > 0.0
        for index in np.flatnonzero(np.abs(margin) < BAND):
            accepted[index] = self.accept_exactly(int(values[index]), int(levels[index]), int(words[index]), bits)
        return accepted

    def accept_exactly(self, value: int, level: int, word: int, bits: SecureBits) -> bool:
        """The same with 64 more bits and 60 digits; about one sample in 10^10 comes here."""
        with localcontext() as context:
            context.prec = DIGITS
            curve = self.peak * (-(Decimal(value) ** 2) / (2 * Decimal(self.sigma) ** 2)).exp()
            return Decimal((word << 64) + int(bits.words(1)[0])) < (curve - level) * Decimal(2**128)


@lru_cache(maxsize=16)
def staircase(sigma: float) -> Staircase:
    """The cells of a sigma, with the highest peak whose cells still fit, so that the fewest draws are refused."""
    shift = max(0, math.floor(math.log2(sigma)) - 6)
    width = 1 << shift
    side = math.ceil(TAIL * sigma / width) + 1
    first = np.arange(-side, side, dtype=np.int64) * width
    ends = np.exp(-0.5 * np.square(np.stack([first, first + width - 1]) / sigma))  # the curve is monotone within a strip
    low, high = ends.min(axis=0), ends.max(axis=0)

    def cells(peak: int) -> tuple[Integers, Integers]:
        under = np.maximum(np.floor(peak * low - BAND), 0.0).astype(np.int64)
        return under, np.floor(peak * high + BAND).astype(np.int64) + 1

    fits, too_high = 1, 1 << CELL_BITS
    while too_high - fits > 1:
        middle = (fits + too_high) // 2
        fits, too_high = (middle, too_high) if cells(middle)[1].sum() <= 1 << CELL_BITS else (fits, middle)
    under, over = cells(fits)
    crossed = over - under
    inner, used = int(under.sum()), int(over.sum())
    base = np.zeros(1 << CELL_BITS, dtype=np.int64)
    level = np.full(1 << CELL_BITS, 2.0 * fits)
    base[:inner], level[:inner] = np.repeat(first, under), 0.0
    base[inner:used] = np.repeat(first, crossed)
    level[inner:used] = np.arange(used - inner) + np.repeat(under - np.cumsum(crossed) + crossed, crossed)
    base.setflags(write=False)
    level.setflags(write=False)
    return Staircase(sigma, fits, shift, inner, base, level)
