"""Small DICOM files and cohorts for the intake's tests."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


def dataset(
    pixels: np.ndarray | None = None, *, photometric: str = "MONOCHROME2", frames: int = 0, **elements: Any
) -> FileDataset:
    """A DICOM image of `pixels`: (H, W), (H, W, 3), or with a leading frame axis if `frames`."""
    if pixels is None:
        pixels = np.arange(48, dtype=np.uint16).reshape(6, 8)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = elements.get("SOPClassUID", CTImageStorage)
    meta.MediaStorageSOPInstanceUID = elements.get("SOPInstanceUID", generate_uid())
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.PatientID, ds.PatientName, ds.PatientBirthDate = "MRN-0001", "Doe^Jane", "19500101"
    ds.Modality = "CT"
    colour = photometric not in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
    shape = pixels.shape[1:] if frames else pixels.shape
    ds.Rows, ds.Columns = shape[:2]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 3 if colour else 1, photometric
    if colour:
        ds.PlanarConfiguration = 0
    if frames:
        ds.NumberOfFrames = frames
    ds.BitsAllocated = ds.BitsStored = 8 * pixels.dtype.itemsize
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    ds.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    for name, value in elements.items():
        if value is None:
            del ds[name]
        else:
            setattr(ds, name, value)
    if "BitsStored" in elements and "HighBit" not in elements:
        ds.HighBit = ds.BitsStored - 1
    return ds


def save(ds: Dataset, path: Path) -> str:
    """Write `ds` to `path`; returns its SOPInstanceUID."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():  # odd values are the point of many tests
        warnings.simplefilter("ignore")
        ds.save_as(path, enforce_file_format=True)
    return str(ds.SOPInstanceUID)


def write_labels(path: Path, rows: list[dict[str, object]]) -> Path:
    """A labels CSV with the columns of the first row."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def cohort(folder: Path, n: int, *, seed: int = 0) -> tuple[Path, Path]:
    """`n` small DICOM files of n/2 patients with labels; (source, labels)."""
    noise = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    for i in range(n):
        uid = f"1.2.3.{seed}.{i}"
        image = noise.integers(0, 4096, (16, 12), dtype=np.uint16)
        ds = dataset(image, SOPInstanceUID=uid, PatientID=f"MRN-{i // 2:04d}", BitsStored=12)
        ds.PatientSex, ds.PatientAge, ds.Manufacturer = "MF"[i // 2 % 2], f"{30 + i // 2 % 70:03d}Y", "ACME"
        save(ds, folder / "source" / f"{i:05d}.dcm")
        rows.append({"SOPInstanceUID": uid, "finding": i % 2, "fold": "test" if i % 5 == 0 else "train"})
    return folder / "source", write_labels(folder / "labels.csv", rows)


def ensure_key(path: Path) -> Path:
    """The same key in every test run, so that digests can be compared."""
    path.write_bytes(bytes(range(32)))
    path.chmod(0o600)
    return path
