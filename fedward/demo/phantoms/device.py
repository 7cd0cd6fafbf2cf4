"""What a hospital's machine writes about itself, and how it stores grey."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from fedward.demo.phantoms.build import Array

Stored = NDArray[np.uint8] | NDArray[np.uint16]


class Grey(Enum):
    """Which end of the scale is white."""

    PLAIN = "MONOCHROME2"
    INVERTED = "MONOCHROME1"


@dataclass(frozen=True)
class Device:
    """One maker's habits."""

    maker: str
    model: str
    station: str
    institution: str
    prefix: str  # of patient and accession numbers
    bits: int
    pixel_spacing: float  # mm
    grey: Grey = Grey.PLAIN
    rescale: tuple[float, float] | None = None  # slope, intercept
    windows: bool = False
    lookup: bool = False  # a VOI LUT Sequence instead of a window
    syntax: Literal["", "RLE", "JPEG2000", "JPEGLS"] = ""  # empty: not compressed
    computed: bool = False  # CR rather than DX
    view: Literal["PA", "AP"] = "PA"
    private_header: bool = False  # the patient's name a second time, in a private element


def stored(grey: Array, device: Device) -> Stored:
    """Turn grey (0 to 1) into what the file holds."""
    low, high = stored_range(device)
    if device.lookup:
        # This maker stores what the detector saw; the curve for the eye comes with the file.
        grey = grey**1.6
    values = low + np.rint(grey * (high - low))
    if device.grey is Grey.INVERTED:
        values = 2**device.bits - 1 - values
    return values.astype(np.uint8) if device.bits <= 8 else values.astype(np.uint16)


def stored_range(device: Device) -> tuple[int, int]:
    """Say where the darkest and the brightest grey lie: a machine with a window leaves room on both sides."""
    top = 2**device.bits - 1
    return (top // 10, top - top // 6) if device.windows else (0, top)


def describe_grey(ds: Dataset, device: Device) -> None:
    """Write how the stored values become grey again."""
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = device.grey.value
    ds.BitsAllocated = 8 if device.bits <= 8 else 16
    ds.BitsStored, ds.HighBit, ds.PixelRepresentation = device.bits, device.bits - 1, 0
    ds.PresentationLUTShape = "INVERSE" if device.grey is Grey.INVERTED else "IDENTITY"
    slope, intercept = device.rescale or (1.0, 0.0)
    if device.rescale or not device.computed:
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = f"{slope:g}", f"{intercept:g}", "US"
    if device.windows:
        low, high = stored_range(device)
        if device.grey is Grey.INVERTED:
            low, high = 2**device.bits - 1 - high, 2**device.bits - 1 - low
        centre, width = slope * (low + high) / 2 + intercept, slope * (high - low)
        ds.WindowCenter, ds.WindowWidth = [round(centre), round(centre * 0.8)], [round(width), round(width * 0.6)]
        ds.WindowCenterWidthExplanation = ["NORMAL", "LUNG"]
    if device.lookup:
        ds.VOILUTSequence = Sequence([_lookup(device.bits)])


def _lookup(bits: int) -> Dataset:
    table = Dataset()
    entries = np.linspace(0, 1, 2**bits) ** (1 / 1.6)
    table.LUTDescriptor = [2**bits, 0, 16]
    table["LUTDescriptor"].VR = "US"
    table.LUTExplanation = "CHEST"
    table.add_new("LUTData", "OW", np.rint(entries * 65535).astype("<u2").tobytes())
    return table
