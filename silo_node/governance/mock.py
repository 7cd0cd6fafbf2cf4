"""A public stand-in for a cohort: invented patients and phantom images with the same columns, classes and kind of image.

A researcher tries a plan on it before handing it over. Nothing in it is of a patient: of the real cohort it shows only names
(labels, classes, modalities, makers) and the size of an image that enough patients share, the size scaled down, and no count.
"""

from __future__ import annotations

import json
import lzma
import shutil
import zipfile
import zlib
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np

from protocol.errors import StoreError
from silo_node.cohort import CohortStore, Sample, StoreWriter

SHARED_BY = 11
"""What fewer patients have may point at one of them, and is left out: the smallest cell of the audits."""
_LONGEST = 128
_ANY_SIZE = (1, _LONGEST, _LONGEST)
"""Channels, rows and columns where no size is shared by enough patients."""
_MAX_BYTES = 256 << 20
V = TypeVar("V", bound=Hashable)


def public_facts(samples: Sequence[Sample]) -> dict[str, Any]:
    """What the mock shows of the cohort: label columns and their values, modalities, makers, folds, and a size of images.

    Each only if SHARED_BY patients have it; of those sizes the one that most patients have.
    """
    columns = sorted({name for sample in samples for name in sample.labels})
    labels = {name: _shared((sample.labels.get(name), sample.patient) for sample in samples) for name in columns}
    sizes = _having((sample.shape, sample.patient) for sample in samples)
    channels, rows, width = max(sizes, key=lambda size: (sizes[size], size), default=_ANY_SIZE)
    scale = min(1.0, _LONGEST / max(rows, width))
    return {
        "labels": {name: values for name, values in labels.items() if values},
        "modality": _shared((sample.modality, sample.patient) for sample in samples),
        "manufacturer": _shared((sample.manufacturer, sample.patient) for sample in samples),
        "folds": bool(_having((bool(sample.fold) or None, sample.patient) for sample in samples)),
        "image": [channels, max(8, round(rows * scale)), max(8, round(width * scale))],
    }


def make_mock(store: CohortStore, path: Path, *, patients: int = 120, seed: int = 0) -> dict[str, Any]:
    """Write a mock of `store` to `path` (zip of a cohort store). Returns what it shows of the real one.

    Raises StoreError if no label column has values that enough patients share: then nothing could be tried on it.
    """
    facts = public_facts(store.samples)
    if not facts["labels"]:
        raise StoreError(f"no label of this cohort has values that {SHARED_BY} patients share; it cannot be shown.")
    with TemporaryDirectory() as name:
        folder = Path(name) / "mock"
        with StoreWriter.create(folder, values="display") as writer:
            for number in range(patients):
                _add_patient(writer, facts, number, np.random.default_rng((seed, number)))
            writer.finish()
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(folder.iterdir()):
                archive.write(file, file.name)
    return facts


def open_mock(path: Path, folder: Path) -> CohortStore:
    """Unpack a mock that a hospital published into `folder`, a new one. Raises StoreError for anything but a small flat zip."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            flat = all("/" not in one.filename and "\\" not in one.filename for one in entries)
            if not flat or sum(one.file_size for one in entries) > _MAX_BYTES:
                raise StoreError(f"{path.name} is no mock: larger than any, or with folders in it.")
            folder.mkdir(parents=True)
            archive.extractall(folder)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, RuntimeError, ValueError) as error:
        shutil.rmtree(folder, ignore_errors=True)  # or half a mock would be taken for one
        raise StoreError(f"{path.name} cannot be unpacked; ask the hospital to publish it again.") from error
    return CohortStore.open(folder)


def write_manifest(store: CohortStore, path: Path) -> None:
    """What stays at the hospital as the private half: which store is meant, by its digest. No image, no row."""
    path.write_text(json.dumps({"schema": "fedward.manifest/1", "store": store.path.name, "digest": store.digest}))


def _add_patient(writer: StoreWriter, facts: dict[str, Any], number: int, rng: np.random.Generator) -> None:
    labels = {name: values[(number + place) % len(values)] for place, (name, values) in enumerate(facts["labels"].items())}
    first = next(iter(facts["labels"]))
    level = facts["labels"][first].index(labels[first]) / max(1, len(facts["labels"][first]) - 1)
    for _ in range(1 + number % 2):
        writer.add(
            _phantom(tuple(facts["image"]), level, rng),
            patient=f"mock-{number:04d}",
            labels=labels,
            fold=("train", "train", "train", "validation", "test")[number // 2 % 5] if facts["folds"] else None,
            sex=("F", "M")[int(rng.integers(2))],
            age=int(rng.integers(20, 90)),
            manufacturer=_one(facts["manufacturer"], rng),
            modality=_one(facts["modality"], rng),
        )


def _phantom(shape: tuple[int, ...], level: float, rng: np.random.Generator) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A disc on a soft ground, brighter for later classes, so that a network has something to learn."""
    channels, rows, columns = shape
    y, x = np.mgrid[:rows, :columns] / max(rows, columns)
    centre = rng.uniform(0.3, 0.7, 2) * (rows, columns) / max(rows, columns)
    disc = np.hypot(y - centre[0], x - centre[1]) < rng.uniform(0.12, 0.2)
    image = 90 + 40 * np.sin(6 * (x + rng.uniform())) + disc * (20 + 60 * level) + rng.normal(0, 12, (channels, rows, columns))
    found: np.ndarray[Any, np.dtype[np.uint8]] = np.clip(image, 0, 255).astype(np.uint8)
    return found


def _one(values: Sequence[str], rng: np.random.Generator) -> str | None:
    return str(values[int(rng.integers(len(values)))]) if values else None


def _shared(values: Iterable[tuple[str | None, str]]) -> list[str]:
    return sorted(_having((value or None, patient) for value, patient in values))


def _having(values: Iterable[tuple[V | None, str]]) -> dict[V, int]:
    """The (value, patient) values that enough patients have, and how many do."""
    patients: dict[V, set[str]] = {}
    for value, patient in values:
        if value is not None:
            patients.setdefault(value, set()).add(patient)
    return {value: len(having) for value, having in patients.items() if len(having) >= SHARED_BY}
