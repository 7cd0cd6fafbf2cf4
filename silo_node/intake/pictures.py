"""One PNG, JPEG or TIFF file: its frames as a viewer would show them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

from silo_node.cohort.format import ImageArray, Values
from silo_node.intake.candidate import Candidate, Facts, Frame, Limits
from silo_node.intake.display import compact, quantise, stretch
from silo_node.intake.reasons import Reason, Rejection

WHITE_IS_ZERO = 0
PHOTOMETRIC_TAG = 262
DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


def read_picture(path: Path, name: str) -> Candidate:
    """The picture at `path`, known to the labels as `name`. Raises Rejection."""
    try:
        with Image.open(path, formats=("PNG", "JPEG", "TIFF", "MPO")) as picture:
            encoding = "JPEG" if picture.format == "MPO" else str(picture.format)
    except (MemoryError, Image.DecompressionBombError) as error:
        raise Rejection(Reason.TOO_LARGE) from error
    except UnidentifiedImageError as error:
        raise Rejection(Reason.UNSUPPORTED) from error
    except Exception as error:  # Pillow raises whatever a damaged header leads it to
        raise Rejection(Reason.BROKEN_HEADER) from error
    return Candidate({"file": name}, "", Facts(encoding=encoding), partial(_frames, path, encoding))


def _frames(path: Path, encoding: str, values: Values, limits: Limits) -> Iterator[Frame]:
    try:
        with Image.open(path) as picture:
            # Only a TIFF's pages are images of their own; a JPEG's or PNG's further frames are previews or animation.
            count = getattr(picture, "n_frames", 1) if encoding == "TIFF" else 1
            _check_size(picture, count, limits)
            for index, page in enumerate(ImageSequence.Iterator(picture) if count > 1 else [picture]):
                yield _frame(page, index if count > 1 else None, values, limits)
    except (Rejection, MemoryError, GeneratorExit):
        raise
    except Image.DecompressionBombError as error:
        raise Rejection(Reason.TOO_LARGE) from error
    except Exception as error:  # as above
        raise Rejection(Reason.DECODE_FAILED) from error


def _check_size(page: Image.Image, count: int, limits: Limits) -> None:
    if page.width * page.height * count * 4 > limits.decoded_bytes:
        raise Rejection(Reason.TOO_LARGE)


def _frame(page: Image.Image, number: int | None, values: Values, limits: Limits) -> Frame:
    _check_size(page, 1, limits)
    mode = page.mode
    inverted = mode.startswith("I;16") and _tag(page) == WHITE_IS_ZERO  # Pillow inverts the shallow modes only
    upright = ImageOps.exif_transpose(page)
    if mode in DEEP:
        pixels, source = _deep(np.asarray(upright), values, inverted=inverted)
    else:
        pixels, source = _shallow(upright), "stored bits"
    return Frame(pixels=pixels, photometric=mode, number=number, range=source if values == "display" else None)


def _tag(page: Image.Image) -> object:
    return getattr(page, "tag_v2", {}).get(PHOTOMETRIC_TAG)


def _shallow(page: Image.Image) -> ImageArray:
    """At most 8 bits a channel: grey or RGB, transparency laid over black, palettes and other colours resolved."""
    if page.mode in ("1", "L"):
        return np.asarray(page.convert("L"))[np.newaxis]
    grey = page.mode in ("LA", "La")
    if page.has_transparency_data:
        flat = page.convert("RGBA")
        page = Image.alpha_composite(Image.new("RGBA", flat.size, (0, 0, 0, 255)), flat)
    if grey:
        return np.asarray(page.getchannel(0))[np.newaxis]
    return np.ascontiguousarray(np.asarray(page.convert("RGB")).transpose(2, 0, 1))


def _deep(stored: NDArray[Any], values: Values, *, inverted: bool) -> tuple[ImageArray, str]:
    """More than 8 bits: 16-bit values keep their range, 32-bit ones and floats take the page's extremes."""
    if stored.dtype.kind == "f" and not np.isfinite(stored).all():
        raise Rejection(Reason.NOT_FINITE)
    levels = stored.astype(np.float64)
    if values == "modality":
        return compact(levels)[np.newaxis], "stored bits"
    if stored.dtype.itemsize == 2:
        fraction, source = levels / 65535.0, "stored bits"
    else:
        fraction, source = stretch(levels, float(levels.min()), float(levels.max())), "image extremes"
    return quantise(1.0 - fraction if inverted else fraction, 16)[np.newaxis], source
