"""The files of a cohort store, version 1 (docs/cohort-store.md says the same in prose)."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

FORMAT: Final = "fedward.cohort-store"
VERSION: Final = 1
MANIFEST: Final = "store.json"
PIXELS: Final = "pixels.bin"
SAMPLES: Final = "samples.jsonl"
CARD: Final = "card.json"
REJECTIONS: Final = "rejections.csv"
DATA_FILES: Final = (CARD, PIXELS, REJECTIONS, SAMPLES)
ALIGNMENT: Final = 64  # bytes: one cache line, and enough for any SIMD load

Values: TypeAlias = Literal["display", "modality"]
ImageArray: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.int16] | NDArray[np.float32]

DTYPES: Final[dict[str, np.dtype[np.generic]]] = {
    "uint8": np.dtype("<u1"),
    "uint16": np.dtype("<u2"),
    "int16": np.dtype("<i2"),
    "float32": np.dtype("<f4"),
}
DISPLAY_MAXIMUM: Final = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}
"""Stored value that means fraction 1 of the display range; int16 is for modality values only."""


class SampleRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One line of samples.jsonl. Holds no identifier in clear: `patient` and `instance` are keyed pseudonyms."""

    patient: str
    labels: dict[str, str]
    shape: tuple[int, int, int]
    dtype: Literal["uint8", "uint16", "int16", "float32"]
    offset: int
    fold: str | None = None
    sex: Literal["M", "F", "O"] | None = None
    age: int | None = None
    manufacturer: str | None = None
    model: str | None = None
    modality: str | None = None
    instance: str | None = None
    frame: int | None = None
    spacing: tuple[float, float] | None = None
    photometric: str | None = None
    encoding: str | None = None
    range: str | None = None
    units: str | None = None
    text_free: bool = False

    @property
    def nbytes(self) -> int:
        """Size of the pixels in bytes."""
        channels, rows, columns = self.shape
        return channels * rows * columns * DTYPES[self.dtype].itemsize


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Size and digest of one file of the store."""

    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """store.json: what the store is made of. `digest` covers every other field."""

    format: str
    version: int
    values: Values
    n_samples: int
    n_patients: int
    files: dict[str, FileEntry]
    digest: str


def aligned(offset: int) -> int:
    """The first multiple of ALIGNMENT at or after `offset`."""
    return -(-offset // ALIGNMENT) * ALIGNMENT
