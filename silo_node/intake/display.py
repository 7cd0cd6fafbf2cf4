"""From stored values to display values: the grey pipeline of DICOM PS3.3 C.11 as pure functions.

pydicom's own helpers read a whole dataset, so they cannot follow per-frame functional groups; they also return values
in the modality's range, where fedward needs the fraction of the display range. The tests use them as the oracle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class LookupTable:
    """A modality or VOI LUT: `first` is the input mapped to entry 0, `bits` the depth of the entries."""

    first: int
    bits: int
    entries: NDArray[np.uint16]

    def apply(self, values: NDArray[Any]) -> Grey:
        """Map `values`; inputs outside the table take its first or last entry."""
        # int64 before subtracting: unsigned pixels would wrap around below `first`.
        index = np.clip(np.floor(values).astype(np.int64) - self.first, 0, len(self.entries) - 1)
        mapped: Grey = self.entries[index].astype(np.float64)
        return mapped

    @property
    def maximum(self) -> float:
        """The largest value the entries may take."""
        return float(2**self.bits - 1)


@dataclass(frozen=True, slots=True)
class Window:
    """A VOI window; `function` is LINEAR, LINEAR_EXACT or SIGMOID."""

    center: float
    width: float
    function: str = "LINEAR"

    def fraction(self, values: Grey) -> Grey:
        """Fraction 0..1 of the display range (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
        if self.function == "SIGMOID":
            exponent = np.clip(-4.0 * (values - self.center) / self.width, -700.0, 700.0)
            return 1.0 / (1.0 + np.exp(exponent))
        center, width = self.center, self.width
        if self.function == "LINEAR" and width >= 1.0:
            center, width = center - 0.5, width - 1.0
        if width == 0.0:
            return (values > center).astype(np.float64)
        return np.clip((values - center) / width + 0.5, 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class GreyTransform:
    """How one grey frame is to be shown. `low` and `high` are what the stored bits can hold."""

    low: float
    high: float
    slope: float = 1.0
    intercept: float = 0.0
    modality_table: LookupTable | None = None
    voi: LookupTable | Window | None = None
    inverted: bool = False
    padding: tuple[float, float] | None = None

    def modality(self, stored: NDArray[Any]) -> Grey:
        """Modality values: HU for CT."""
        if self.modality_table is not None:
            return self.modality_table.apply(stored)
        return stored.astype(np.float64) * self.slope + self.intercept

    def modality_range(self) -> tuple[float, float]:
        """The modality values of the lowest and the highest stored value."""
        if self.modality_table is not None:
            return 0.0, self.modality_table.maximum
        return self.low * self.slope + self.intercept, self.high * self.slope + self.intercept

    def padded(self, stored: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Where the frame is padding and not image; None if nowhere."""
        if self.padding is None:
            return None
        mask = (stored >= self.padding[0]) & (stored <= self.padding[1])
        return mask if mask.any() else None

    def display(self, stored: NDArray[Any], image_range: tuple[float, float] | None = None) -> Grey:
        """Fraction 0..1 of the display range, black is 0; padding is black whatever the window says.

        Without VOI the range is `image_range` (modality values) if given, else what the stored bits can hold.
        """
        values = self.modality(stored)
        match self.voi:
            case LookupTable() as table:
                fraction = table.apply(values) / table.maximum
            case Window() as window:
                fraction = window.fraction(values)
            case None:
                fraction = stretch(values, *(image_range or self.modality_range()))
        if self.inverted:
            fraction = 1.0 - fraction
        if (mask := self.padded(stored)) is not None:
            fraction[mask] = 0.0
        return fraction


def stretch(values: Grey, low: float, high: float) -> Grey:
    """Map low..high to 0..1 (all black if the two are equal)."""
    if low == high:
        return np.zeros_like(values)
    return np.clip((values - low) / (high - low), 0.0, 1.0)


def quantise(fraction: Grey, bits: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Fractions as uint8 (sources of at most 8 bits) or uint16, rounded to the nearest."""
    if bits <= 8:
        return np.rint(fraction * 255.0).astype(np.uint8)
    return np.rint(fraction * 65535.0).astype(np.uint16)


def compact(values: Grey) -> NDArray[np.int16] | NDArray[np.float32]:
    """Modality values as int16 where that loses nothing, else as float32."""
    small = values.size > 0 and values.min() >= -32768 and values.max() <= 32767
    if small and np.array_equal(values, np.rint(values)):
        return values.astype(np.int16)
    return values.astype(np.float32)


def tabulated(function: Callable[[NDArray[Any]], NDArray[Any]], stored: NDArray[Any]) -> NDArray[Any]:
    """`function(stored)` for a function of single pixels, through a table where the image repeats its values often."""
    if stored.dtype.kind in "iu":
        low, high = int(stored.min()), int(stored.max())
        if high - low < stored.size // 2:
            table = function(np.arange(low, high + 1))
            return table[stored.astype(np.int64) - low]
    return function(stored)
