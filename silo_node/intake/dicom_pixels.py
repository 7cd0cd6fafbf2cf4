"""Decode the frames of a DICOM dataset and bring them to what the store keeps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut
from pydicom.uid import ExplicitVRBigEndian

from silo_node.cohort.format import Values
from silo_node.intake.candidate import Frame, Limits
from silo_node.intake.dicom_transform import Layout, frame_count, grey_transform, spacing
from silo_node.intake.dicom_values import integer, line, text
from silo_node.intake.display import GreyTransform, LookupTable, Window, compact, quantise, stretch, tabulated
from silo_node.intake.reasons import Reason, Rejection

FLOATS = ("FloatPixelData", "DoubleFloatPixelData")
PIXEL_KEYWORDS = ("PixelData", *FLOATS)
CHANNELS = {"MONOCHROME1": 1, "MONOCHROME2": 1, "PALETTE COLOR": 1} | dict.fromkeys(
    ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"), 3
)


def frames(dataset: Dataset, values: Values, limits: Limits) -> Iterator[Frame]:
    """Every frame of `dataset`, one at a time. Raises Rejection."""
    layout = read_layout(dataset)
    if layout.decoded_bytes > limits.decoded_bytes:
        raise Rejection(Reason.TOO_LARGE)
    decoded = decode(dataset, layout)
    if layout.channels == 3:
        return _colour_frames(dataset, decoded, layout, values)
    if layout.photometric == "PALETTE COLOR":
        return _palette_frames(dataset, decoded, layout, values)
    return _grey_frames(dataset, decoded, layout, values)


def read_layout(dataset: Dataset) -> Layout:
    """The image pixel module. Rejection BROKEN_HEADER, PHOTOMETRIC or UNSUPPORTED if it contradicts itself."""
    floating = "PixelData" not in dataset
    photometric = (text(dataset, "PhotometricInterpretation") or "").upper()
    channels = integer(dataset, "SamplesPerPixel")
    if channels is None or CHANNELS.get(photometric) != channels:
        raise Rejection(Reason.PHOTOMETRIC)
    rows, columns, allocated = (integer(dataset, name) for name in ("Rows", "Columns", "BitsAllocated"))
    bits = allocated if floating else integer(dataset, "BitsStored")
    if not rows or not columns or not allocated or not bits or not 0 < bits <= allocated:
        raise Rejection(Reason.BROKEN_HEADER)
    signed = integer(dataset, "PixelRepresentation") == 1
    if signed and channels == 3:
        raise Rejection(Reason.PHOTOMETRIC)
    return Layout(rows, columns, channels, frame_count(dataset), allocated, bits, signed, photometric, floating)


def decode(dataset: Dataset, layout: Layout) -> Iterator[NDArray[Any]]:
    """Stored values of each declared frame: (H, W), or (H, W, 3) as RGB. Raises Rejection."""
    try:
        decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
        available = decoder.is_available
    except NotImplementedError as error:
        raise Rejection(Reason.UNSUPPORTED) from error
    if not available:
        raise Rejection(Reason.UNSUPPORTED)
    count = 0
    try:
        for pixels, properties in decoder.iter_array(dataset, allow_excess_frames=False):
            _check_colour(layout, properties["photometric_interpretation"])
            count += 1
            yield pixels
    except (Rejection, MemoryError, GeneratorExit):
        raise
    except NotImplementedError as error:
        raise Rejection(Reason.UNSUPPORTED) from error
    except Exception as error:  # decoders raise whatever damaged bytes lead them to
        raise Rejection(Reason.DECODE_FAILED) from error
    if count != layout.frames:
        raise Rejection(Reason.DECODE_FAILED)


def _check_colour(layout: Layout, photometric: object) -> None:
    if layout.channels == 3 and photometric != "RGB":
        raise Rejection(Reason.PHOTOMETRIC)


def _grey_frames(dataset: Dataset, decoded: Iterator[NDArray[Any]], layout: Layout, values: Values) -> Iterator[Frame]:
    little = dataset.file_meta.TransferSyntaxUID != ExplicitVRBigEndian
    transforms = [grey_transform(dataset, layout, i, little_endian=little) for i in range(layout.frames)]
    image_range = None
    # Floats and 32-bit integers have no useful range of their own: the object's extremes stand in, for all its frames.
    if values == "display" and (layout.floating or layout.bits > 16) and any(t.voi is None for t in transforms):
        decoded, image_range = _with_range(decoded, transforms)
    for index, (stored, transform) in enumerate(zip(decoded, transforms, strict=True)):
        if stored.dtype.kind == "f" and not np.isfinite(stored).all():
            raise Rejection(Reason.NOT_FINITE)
        yield Frame(
            pixels=_grey_pixels(stored, transform, layout, values, image_range)[np.newaxis],
            photometric=layout.photometric,
            number=index if layout.frames > 1 else None,
            range=_range_name(transform, image_range) if values == "display" else None,
            units=_units(dataset) if values == "modality" else None,
            spacing=spacing(dataset, index),
        )


def _grey_pixels(
    stored: NDArray[Any],
    transform: GreyTransform,
    layout: Layout,
    values: Values,
    image_range: tuple[float, float] | None,
) -> NDArray[Any]:
    if values == "modality":
        return compact(tabulated(transform.modality, stored))
    return tabulated(lambda levels: quantise(transform.display(levels, image_range), layout.bits), stored)


def _with_range(
    decoded: Iterator[NDArray[Any]], transforms: list[GreyTransform]
) -> tuple[Iterator[NDArray[Any]], tuple[float, float] | None]:
    kept = list(decoded)
    lows, highs = [], []
    for stored, transform in zip(kept, transforms, strict=True):
        mask = transform.padded(stored)
        image = stored if mask is None else stored[~mask]
        if image.size:
            ends = sorted(transform.modality(np.array([image.min(), image.max()])))
            lows.append(float(ends[0]))
            highs.append(float(ends[1]))
    return iter(kept), (min(lows), max(highs)) if lows else None


def _range_name(transform: GreyTransform, image_range: tuple[float, float] | None) -> str:
    match transform.voi:
        case LookupTable():
            return "VOI LUT"
        case Window():
            return "window"
        case None:
            return "image extremes" if image_range else "stored bits"


def _units(dataset: Dataset) -> str | None:
    return line(dataset, "RescaleType") or ("HU" if text(dataset, "Modality") == "CT" else None)


def _colour_frames(dataset: Dataset, decoded: Iterator[NDArray[Any]], layout: Layout, values: Values) -> Iterator[Frame]:
    for index, stored in enumerate(decoded):
        yield _colour_frame(dataset, stored, layout, index, layout.bits, values)


def _palette_frames(dataset: Dataset, decoded: Iterator[NDArray[Any]], layout: Layout, values: Values) -> Iterator[Frame]:
    for index, stored in enumerate(decoded):
        try:
            colours = apply_color_lut(stored, dataset)[..., :3]
            bits = int(dataset.RedPaletteColorLookupTableDescriptor[2])
        except Exception as error:  # absent or damaged palettes fail in many ways
            raise Rejection(Reason.PHOTOMETRIC) from error
        # Some palettes declare 16 bits and use 8, others the reverse: believe the entries.
        bits = max(bits, int(colours.max()).bit_length()) if colours.dtype.itemsize == 2 else 8
        yield _colour_frame(dataset, colours, layout, index, bits, values)


def _colour_frame(dataset: Dataset, colours: NDArray[Any], layout: Layout, index: int, bits: int, values: Values) -> Frame:
    if colours.dtype.kind != "u":
        raise Rejection(Reason.UNSUPPORTED)
    pixels: NDArray[Any] = np.ascontiguousarray(colours.transpose(2, 0, 1), dtype=colours.dtype.newbyteorder("="))
    if values == "modality":
        pixels = pixels if pixels.dtype.itemsize <= 2 else pixels.astype(np.float32)
    elif bits != 8 * pixels.dtype.itemsize or bits > 16:
        pixels = quantise(stretch(pixels.astype(np.float64), 0.0, 2.0**bits - 1), bits)
    return Frame(
        pixels=pixels,
        photometric=layout.photometric,
        number=index if layout.frames > 1 else None,
        range="stored bits" if values == "display" else None,
        spacing=spacing(dataset, index),
    )
