"""An inspector that knows DICOM and the labels file, and nothing of how the phantoms were made."""

from __future__ import annotations

import csv
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, config, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_voi_lut
from pydicom.uid import BasicTextSRStorage

from fedward.demo.phantoms import Hospital


@dataclass
class Findings:
    good: list[Dataset] = field(default_factory=list)
    rejects: Counter[str] = field(default_factory=Counter)


def files(hospital: Hospital) -> list[Path]:
    return sorted(path for path in hospital.dicom.rglob("*") if path.is_file())


def labels(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def inspect(paths: list[Path], labelled: set[str]) -> Findings:
    found, seen = Findings(), set()
    for path in paths:
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "End of file reached")  # a truncated file: see _reason
                ds = dcmread(path)
        except InvalidDicomError:
            found.rejects["not_an_image"] += 1
            continue
        reason = _reason(ds, labelled, seen)
        if reason:
            found.rejects[reason] += 1
        else:
            seen.add(ds.SOPInstanceUID)
            found.good.append(ds)
    return found


def _reason(ds: Dataset, labelled: set[str], seen: set[str]) -> str:
    if "SOPClassUID" not in ds:  # pydicom drops every element if compressed pixels do not end
        return "truncated"
    if ds.SOPClassUID == BasicTextSRStorage:
        return "not_an_image_class"
    if ds.SOPInstanceUID not in labelled:
        return "no_label"
    if ds.SOPInstanceUID in seen:
        return "duplicate_instance"
    if ds.BurnedInAnnotation == "YES":
        return "burned_in_annotation"
    try:
        _ = ds.pixel_array
    except (AttributeError, ValueError, RuntimeError):
        return "truncated"
    return ""


def strictly_valid(ds: Dataset) -> None:
    """Convert every element; whatever the standard forbids raises."""
    before = config.settings.reading_validation_mode
    config.settings.reading_validation_mode = config.RAISE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for element in dcmread(ds.filename).iterall():
                _ = element.value
    finally:
        config.settings.reading_validation_mode = before


def displayed(ds: Dataset) -> NDArray[np.float64]:
    """What a viewer shows, 0 (black) to 1; first frame of several."""
    values = ds.pixel_array.astype(np.int64)
    values = values[0] if values.ndim == 3 else values
    if "VOILUTSequence" in ds:
        shown = apply_voi_lut(values.astype(np.uint16), ds) / 65535
    else:
        modality = values * float(ds.get("RescaleSlope", 1)) + float(ds.get("RescaleIntercept", 0))
        top = 2**ds.BitsStored - 1
        centre = ds.WindowCenter[0] if "WindowCenter" in ds else top / 2
        width = ds.WindowWidth[0] if "WindowWidth" in ds else top
        shown = np.clip((modality - centre) / width + 0.5, 0, 1)
    return 1 - shown if ds.PhotometricInterpretation == "MONOCHROME1" else shown
