"""Write a cohort store sample by sample; nothing is visible at its path until `finish`."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import msgspec
import numpy as np

from protocol.errors import StoreError, StoreExistsError
from silo_node.cohort import format as fmt
from silo_node.cohort.card import data_card
from silo_node.cohort.pixels import PixelFile, disk_error
from silo_node.cohort.sealing import publish, seal
from silo_node.cohort.store import CohortStore


class StoreWriter:
    """Builds a store in `<path>.writing` and renames it to `path` at the end.

    Use it as a context manager: leaving the block without `finish` (an exception, say) removes what was written.
    """

    def __init__(self, path: Path, *, values: fmt.Values) -> None:
        self.path = path
        self.values: fmt.Values = values
        self._folder = path.with_name(path.name + ".writing")
        refuse_existing(path)
        try:
            self._folder.mkdir(mode=0o700, parents=True)
        except FileExistsError:
            raise StoreExistsError(
                f"{self._folder} exists: another process is writing this store, or one was killed. "
                "Delete that folder if nothing is running."
            ) from None
        self._pixels = PixelFile(self._folder / fmt.PIXELS)
        self._records: list[fmt.SampleRecord] = []
        self._open = True

    @classmethod
    def create(cls, path: Path, *, values: fmt.Values = "display") -> Self:
        """Begin a store at `path`. StoreExistsError if anything is there already."""
        return cls(Path(path), values=values)

    def add(
        self,
        image: np.ndarray[Any, Any],
        *,
        patient: str,
        labels: Mapping[str, str] | None = None,
        fold: str | None = None,
        sex: Literal["M", "F", "O"] | None = None,
        age: int | None = None,
        manufacturer: str | None = None,
        model: str | None = None,
        modality: str | None = None,
    ) -> int:
        """Append one image (C, H, W; C is 1 or 3) and return its index.

        Display stores take uint8 (0..255), uint16 (0..65535) or float32 (0..1); modality stores also take int16 and
        any finite float32. Anything else is a StoreError.
        """
        check_image(image, self.values)
        data = np.ascontiguousarray(image, dtype=fmt.DTYPES[image.dtype.name])
        record = {
            "patient": patient,
            "labels": dict(labels or {}),
            "shape": image.shape,
            "dtype": image.dtype.name,
            "offset": fmt.aligned(self._pixels.size),
            "fold": fold,
            "sex": sex,
            "age": age,
            "manufacturer": manufacturer,
            "model": model,
            "modality": modality,
        }
        try:
            self._records.append(msgspec.convert(record, fmt.SampleRecord))
        except msgspec.ValidationError as error:
            raise StoreError(f"This sample cannot be stored: {error}. Labels and attributes are text.") from error
        self._pixels.append(data.data.cast("B"))
        return len(self._records) - 1

    def finish(self) -> CohortStore:
        """Seal the store, move it to its path and open it. StoreError if it has no sample."""
        if not self._records:
            raise StoreError("A cohort store needs at least one sample; none was added.")
        try:
            self._pixels.flush(durably=True)
            card = data_card(self._records, values=self.values)
            seal(self._folder, self._records, self._pixels.entry(), values=self.values, card=card)
            self._pixels.close()
            refuse_existing(self.path)
            publish(self._folder, self.path)
        except OSError as error:
            raise disk_error(error) from error
        self._open = False
        return CohortStore.open(self.path, verify=False)

    def abort(self) -> None:
        """Remove everything written so far; does nothing after `finish`."""
        if self._open:
            self._open = False
            self._pixels.close()
            shutil.rmtree(self._folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.abort()


def refuse_existing(path: Path) -> None:
    """StoreExistsError if anything is at `path`."""
    if path.exists() or path.is_symlink():
        raise StoreExistsError(
            f"{path} already exists and fedward does not overwrite cohorts. Choose another --store, or remove it first."
        )


def check_image(image: np.ndarray[Any, Any], values: fmt.Values) -> None:
    """StoreError unless `image` is an array that a store of these values can hold."""
    if image.ndim != 3 or image.shape[0] not in (1, 3) or 0 in image.shape:
        raise StoreError(f"An image has shape (1 or 3, rows, columns); this one has {image.shape}.")
    allowed = fmt.DTYPES if values == "modality" else fmt.DISPLAY_MAXIMUM
    if image.dtype.name not in allowed:
        raise StoreError(f"A store of {values} values holds {', '.join(allowed)}; this image is {image.dtype.name}.")
    if image.dtype.kind == "f":
        if not np.isfinite(image).all():
            raise StoreError("The image holds NaN or infinity; remove such pixels before storing it.")
        if values == "display" and not (image.min() >= 0.0 and image.max() <= 1.0):
            raise StoreError("Display values are fractions of the display range: scale the image to 0..1.")
