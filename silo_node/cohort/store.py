"""Read a cohort store: checked on open, then through a memory map."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from protocol.errors import StoreCorruptError
from silo_node.cohort import format as fmt
from silo_node.cohort.sample import Sample
from silo_node.cohort.verification import RESTORE, check_records, map_file, read_bytes, read_manifest


class CohortStore:
    """An open cohort store. Cheap to pickle: a copy reopens the files, so data-loader workers share one page cache."""

    path: Path
    name: str
    values: fmt.Values
    digest: str
    samples: tuple[Sample, ...]
    card: dict[str, Any]
    records: tuple[fmt.SampleRecord, ...]

    def __init__(self, path: Path, *, verify: bool) -> None:
        manifest = read_manifest(path)
        self.path, self.name = path, path.name
        self.values = manifest.values
        self.digest = manifest.digest
        try:
            lines = read_bytes(path, manifest, fmt.SAMPLES, verify=verify)
            self.records = tuple(msgspec.json.Decoder(fmt.SampleRecord).decode_lines(lines))
            self.card = msgspec.json.decode(read_bytes(path, manifest, fmt.CARD, verify=verify), type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise StoreCorruptError(f"{path} does not hold what its format says ({error}). {RESTORE}") from error
        map_file(path, manifest, fmt.REJECTIONS, verify=verify).close()
        self._pixels = map_file(path, manifest, fmt.PIXELS, verify=verify)
        check_records(path, manifest, self.records)
        self.samples = tuple(_sample(index, record) for index, record in enumerate(self.records))

    @classmethod
    def open(cls, path: Path, *, verify: bool = True) -> CohortStore:
        """Open the store at `path`.

        `verify` reads every byte and compares its digest (about 1 GB/s); without it only sizes and structure are
        checked. Raises StoreError (nothing there), StoreVersionError (another format version) or StoreCorruptError.
        """
        return cls(Path(path).absolute(), verify=verify)

    def __len__(self) -> int:
        return len(self.samples)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(CohortStore.open, verify=False), (self.path,)

    def image(self, index: int) -> NDArray[np.float32]:
        """The image as float32 (C, H, W): fraction 0..1 of the display range, or modality units (HU for CT)."""
        record = self.records[index]
        stored = self.stored(index)
        if self.values == "display" and record.dtype != "float32":
            fraction: NDArray[np.float32] = np.divide(stored, np.float32(fmt.DISPLAY_MAXIMUM[record.dtype]), dtype=np.float32)
            return fraction
        return stored.astype(np.float32)

    def stored(self, index: int) -> NDArray[Any]:
        """The image as it is stored (C, H, W), read-only, without a copy."""
        record = self.records[index]
        count = record.nbytes // fmt.DTYPES[record.dtype].itemsize
        flat = np.frombuffer(self._pixels, dtype=fmt.DTYPES[record.dtype], count=count, offset=record.offset)
        return flat.reshape(record.shape)


def _sample(index: int, record: fmt.SampleRecord) -> Sample:
    return Sample(
        index=index,
        patient=record.patient,
        labels=record.labels,
        fold=record.fold,
        sex=record.sex,
        age=record.age,
        manufacturer=record.manufacturer,
        model=record.model,
        modality=record.modality,
        shape=record.shape,
    )
