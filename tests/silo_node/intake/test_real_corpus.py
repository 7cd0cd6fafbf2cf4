"""Real files of many makers, odd and broken ones among them; skipped where the corpus is not beside the project."""

from __future__ import annotations

import csv
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from dicom_phantoms import ensure_key, write_labels
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut

from silo_node.cohort import CohortStore
from silo_node.intake import import_folder
from silo_node.intake.candidate import Frame, Limits
from silo_node.intake.examination import open_candidate
from silo_node.intake.reasons import REASONS, Reason, Rejection

CORPUS = Path(__file__).parents[4] / "shared" / "data" / "dicom"
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not CORPUS.is_dir(), reason="needs ../shared/data/dicom beside the project"),
]
POLICY = {Reason.NOT_AN_IMAGE_CLASS, Reason.BURNED_IN, Reason.DICOMDIR}
"""Files that could be decoded, and are not wanted as training images."""


def index() -> list[dict[str, str]]:
    if not CORPUS.is_dir():
        return []
    with (CORPUS / "index.csv").open() as file:
        return sorted(csv.DictReader(file), key=lambda row: row["out"])


def with_pixels() -> list[pytest.param]:
    rows = [row for row in index() if row["has_pixels"] == "1"]
    return [pytest.param(CORPUS / row["out"], row["decode_allcodecs"] == "ok", id=row["out"]) for row in rows]


def frames_of(path: Path, values: str) -> list[Frame] | Reason:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return list(open_candidate(path, path.name).frames(values, Limits()))
        except Rejection as rejection:
            return rejection.reason


def test_every_file_ends_as_a_sample_or_as_a_reason(tmp_path) -> None:
    files = sorted(path.relative_to(CORPUS).as_posix() for path in CORPUS.rglob("*") if path.is_file())
    labels = write_labels(tmp_path / "labels.csv", [{"file": name, "y": i % 3} for i, name in enumerate(files)])
    summary = import_folder(CORPUS, labels, tmp_path / "store", key=ensure_key(tmp_path / "key"))
    with summary.report.open(encoding="utf-8") as file:
        rejected = {row["file"]: REASONS[row["reason"]] for row in csv.DictReader(file)}
    store = CohortStore.open(summary.store)
    kept = len({(record.instance or number) for number, record in enumerate(store.records)})
    assert summary.n_files == len(files) == len(rejected) + kept
    assert Counter(reason.value for reason in rejected.values()) == summary.rejected
    assert not {Reason.DECODER_CRASHED, Reason.TIMED_OUT, Reason.UNREADABLE} & set(rejected.values())
    assert all(0.0 <= store.image(i).min() <= store.image(i).max() <= 1.0 for i in range(len(store)))


@pytest.mark.parametrize(("path", "expected"), with_pixels())
def test_what_decodes_elsewhere_decodes_here(path, expected) -> None:
    outcome = frames_of(path, "display")
    if isinstance(outcome, list):
        assert expected or path.name.endswith("OT-PAL-8-face.dcm")  # read without a transfer syntax, which we infer
    else:
        assert not expected or outcome in POLICY


@pytest.mark.parametrize(("path", "expected"), with_pixels())
def test_values_are_those_of_pydicom(path, expected) -> None:
    shown, units = frames_of(path, "display"), frames_of(path, "modality")
    if isinstance(shown, Reason) or isinstance(units, Reason) or not expected:
        pytest.skip("not decoded")
    with warnings.catch_warnings(), np.errstate(over="ignore"):
        warnings.simplefilter("ignore")
        ds = dcmread(path, force=True)
        stored = ds.pixel_array
        if len(shown) == 1:
            stored = stored[np.newaxis]
        stored = stored[: len(shown)]
        if ds.PhotometricInterpretation == "PALETTE COLOR":
            expect = np.stack([apply_color_lut(frame, ds).transpose(2, 0, 1) for frame in stored])
            np.testing.assert_array_equal(np.stack([frame.pixels for frame in units]), expect)
        elif ds.SamplesPerPixel == 3:
            expect = stored.transpose(0, 3, 1, 2)
            np.testing.assert_allclose(np.stack([frame.pixels for frame in units]), expect, rtol=1e-6)
        else:
            for number, frame in enumerate(stored):
                compare_grey(flattened(ds, number), frame[np.newaxis], [shown[number]], [units[number]])


def flattened(ds: Dataset, frame: int) -> Dataset:
    """A frame's functional groups as top-level elements, where pydicom's helpers look."""
    groups = [*ds.get("SharedFunctionalGroupsSequence", []), *ds.get("PerFrameFunctionalGroupsSequence", [])[frame:][:1]]
    flat = Dataset(ds)
    flat.file_meta = ds.file_meta
    for group in groups:
        for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for item in group.get(name, []):
                flat.update(item)
    return flat


def compare_grey(ds: Dataset, stored: np.ndarray, shown: list[Frame], units: list[Frame]) -> None:
    values = apply_modality_lut(stored, ds)
    np.testing.assert_allclose(np.stack([frame.pixels[0] for frame in units]), values, rtol=1e-6)
    if shown[0].range not in ("window", "stored bits"):
        return
    bits = ds.BitsStored
    ends = (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if ds.PixelRepresentation else (0.0, 2.0**bits - 1)
    if "ModalityLUTSequence" in ds:
        low, high = 0.0, 2.0 ** ds.ModalityLUTSequence[0].LUTDescriptor[2] - 1
    else:
        low, high = apply_modality_lut(np.array(ends), ds)
    fraction = ((apply_voi_lut(values, ds) if shown[0].range == "window" else values) - low) / (high - low)
    if ds.PhotometricInterpretation == "MONOCHROME1":
        fraction = 1 - fraction
    pixels = np.stack([frame.pixels[0] for frame in shown])
    top = np.iinfo(pixels.dtype).max
    kept = stored != ds.get("PixelPaddingValue", np.nan)
    assert np.abs(pixels / top - fraction)[kept].max(initial=0) <= 0.51 / top
