"""The grey transform of each frame, from the dataset and its functional groups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from silo_node.intake.dicom_values import integer, item, items, number, pair, text, value
from silo_node.intake.display import GreyTransform, LookupTable, Window
from silo_node.intake.reasons import Reason, Rejection


@dataclass(frozen=True, slots=True)
class Layout:
    """The image pixel module, checked. `bits` is what each sample really uses."""

    rows: int
    columns: int
    channels: int
    frames: int
    allocated: int
    bits: int
    signed: bool
    photometric: str
    floating: bool

    @property
    def decoded_bytes(self) -> int:
        """Bytes of all frames once decoded."""
        return self.rows * self.columns * self.channels * self.frames * max(self.allocated // 8, 1)

    def stored_range(self) -> tuple[float, float]:
        """The lowest and highest stored value the bits can hold."""
        if self.signed:
            return -(2.0 ** (self.bits - 1)), 2.0 ** (self.bits - 1) - 1
        return 0.0, 2.0**self.bits - 1


def frame_sources(dataset: Dataset, frame: int) -> Iterator[Dataset]:
    """Where to look for a frame's attributes, nearest first: its own group, the shared one, the dataset itself."""
    groups = items(dataset, "PerFrameFunctionalGroupsSequence")
    if frame < len(groups):
        yield groups[frame]
    if (shared := item(dataset, "SharedFunctionalGroupsSequence")) is not None:
        yield shared


def from_group(dataset: Dataset, frame: int, group: str) -> Dataset:
    """The item that describes this aspect of the frame; the dataset itself for plain images."""
    for source in frame_sources(dataset, frame):
        if (found := item(source, group)) is not None:
            return found
    return dataset


def grey_transform(dataset: Dataset, layout: Layout, frame: int, *, little_endian: bool) -> GreyTransform:
    """How to show this frame. Rejection BROKEN_HEADER if a table, a slope or a window function makes no sense."""
    low, high = layout.stored_range()
    rescale = from_group(dataset, frame, "PixelValueTransformationSequence")
    slope, intercept = number(rescale, "RescaleSlope"), number(rescale, "RescaleIntercept")
    if slope is None or intercept is None:
        slope, intercept = 1.0, 0.0
    if slope == 0.0:
        raise Rejection(Reason.BROKEN_HEADER)
    modality = item(dataset, "ModalityLUTSequence")
    return GreyTransform(
        low=low,
        high=high,
        slope=slope,
        intercept=intercept,
        modality_table=table(modality, signed=layout.signed, little_endian=little_endian) if modality else None,
        voi=_voi(dataset, layout, frame, little_endian=little_endian),
        inverted=layout.photometric == "MONOCHROME1",
        padding=_padding(dataset, layout),
    )


def _voi(dataset: Dataset, layout: Layout, frame: int, *, little_endian: bool) -> LookupTable | Window | None:
    source = from_group(dataset, frame, "FrameVOILUTSequence")
    voi = item(source, "VOILUTSequence") or item(dataset, "VOILUTSequence")
    if voi is not None and "LUTDescriptor" in voi and "LUTData" in voi:
        # The input of the table are modality values, which may be negative though the stored ones are not.
        signed = layout.signed or (number(dataset, "RescaleIntercept") or 0.0) < 0.0
        return table(voi, signed=signed, little_endian=little_endian)
    center, width = number(source, "WindowCenter"), number(source, "WindowWidth")
    if center is None or width is None or width <= 0.0:  # scanners write 0/0 for "no window"
        return None
    function = (text(source, "VOILUTFunction") or "LINEAR").upper()
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise Rejection(Reason.BROKEN_HEADER)
    return Window(center, width, function)


def table(source: Dataset, *, signed: bool, little_endian: bool) -> LookupTable:
    """A modality or VOI LUT. Rejection BROKEN_HEADER if its data do not fit its descriptor."""
    try:
        count, first, bits = (int(part) for part in source.LUTDescriptor)
        entries = _entries(source.LUTData, (count & 0xFFFF) or 1 << 16, little_endian=little_endian)
    except Exception as error:
        raise Rejection(Reason.BROKEN_HEADER) from error
    if signed and first > 0x7FFF:  # the VR of the descriptor is ambiguous, and readers guess unsigned
        first -= 1 << 16
    bits = max(bits, int(entries.max()).bit_length(), 1)
    if bits > 16:
        raise Rejection(Reason.BROKEN_HEADER)
    return LookupTable(first, bits, entries)


def _entries(data: Any, count: int, *, little_endian: bool) -> NDArray[np.uint16]:
    if isinstance(data, bytes):
        if len(data) >= 2 * count:
            return np.frombuffer(data, "<u2" if little_endian else ">u2", count).astype(np.uint16)
        return np.frombuffer(data, np.uint8, count).astype(np.uint16)
    entries = np.atleast_1d(np.asarray(data)).astype(np.uint16)
    if len(entries) < count:
        raise ValueError
    return entries[:count]


def _padding(dataset: Dataset, layout: Layout) -> tuple[float, float] | None:
    first = number(dataset, "PixelPaddingValue")
    if first is None:
        return None
    last = number(dataset, "PixelPaddingRangeLimit")
    ends = [_as_stored(end, layout) for end in (first, first if last is None else last)]
    return min(ends), max(ends)


def _as_stored(end: float, layout: Layout) -> float:
    """A padding value written unsigned for signed pixels, as many scanners do, means its two's complement."""
    return end - 2.0**layout.allocated if layout.signed and end >= 2.0 ** (layout.allocated - 1) else end


def spacing(dataset: Dataset, frame: int) -> tuple[float, float] | None:
    """Millimetres between rows and between columns; recorded, never corrected."""
    source = from_group(dataset, frame, "PixelMeasuresSequence")
    return pair(source, "PixelSpacing") or pair(dataset, "ImagerPixelSpacing") or pair(dataset, "PixelAspectRatio")


def frame_count(dataset: Dataset) -> int:
    """NumberOfFrames; absent or zero means one."""
    if value(dataset, "NumberOfFrames") is None:
        return 1
    count = integer(dataset, "NumberOfFrames")
    if count is None or count < 0:
        raise Rejection(Reason.BROKEN_HEADER)
    return count or 1
