"""A decoder that crashes or hangs costs one file, the right one, and never the import."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
from dicom_phantoms import cohort, ensure_key

from protocol.errors import SiloError
from silo_node.intake import ImportSummary, Settings, import_folder

N = 40


def import_with(folder: Path, doomed: dict[int, str], workers: int) -> tuple[ImportSummary, dict[str, str]]:
    """Import N files of which some are renamed to what the deadly decoder acts upon."""
    source, labels = cohort(folder, N)
    for number, fate in doomed.items():
        shutil.move(source / f"{number:05d}.dcm", source / f"{fate}{number:05d}.dcm")
    key = ensure_key(folder / "key")
    settings = Settings(seconds=0.5, worker="deadly_decoder")
    summary = import_folder(source, labels, folder / "store", key=key, workers=workers, settings=settings)
    with summary.report.open() as file:
        return summary, {row["file"]: row["reason"] for row in csv.DictReader(file)}


@pytest.mark.parametrize("workers", [1, 2])
def test_the_file_that_killed_its_decoder_is_blamed(tmp_path, workers) -> None:
    summary, reasons = import_with(tmp_path, {7: "segfault", 8: "segfault", 39: "segfault"}, workers)
    assert set(reasons) == {"segfault00007.dcm", "segfault00008.dcm", "segfault00039.dcm"}
    assert summary.rejected == {"decoder_crashed": 3}
    assert summary.labels_without_file == 0
    assert summary.n_samples == N - 3


def test_a_file_that_hangs_its_decoder_is_blamed(tmp_path) -> None:
    summary, reasons = import_with(tmp_path, {5: "hang"}, workers=2)
    assert reasons == {"hang00005.dcm": "timed_out"}
    assert summary.n_samples == N - 1


def test_a_decoder_killed_from_outside_costs_no_file(tmp_path) -> None:
    summary, reasons = import_with(tmp_path, {11: "once"}, workers=1)
    assert (tmp_path / "died").exists()
    assert reasons == {}
    assert summary.n_samples == N


def test_decoders_that_cannot_start_are_no_files_fault(tmp_path) -> None:
    source, labels = cohort(tmp_path, 4)
    settings = Settings(worker="no_such_module")
    with pytest.raises(SiloError, match="cannot start"):
        import_folder(source, labels, tmp_path / "store", key=tmp_path / "key", settings=settings)
    assert not (tmp_path / "store").exists()
