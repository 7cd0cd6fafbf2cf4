"""The importer agrees with the phantoms on what is an image and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedward.demo.phantoms import Hospital, Misfit
from silo_node.intake import import_folder


@pytest.mark.parametrize("name", ["northgate", "st-brigid"])
def test_importer_takes_the_images_and_names_the_rejects(written: dict[str, Hospital], name: str, tmp_path: Path) -> None:
    hospital = written[name]
    summary = import_folder(hospital.dicom, hospital.labels, tmp_path / "store", key=tmp_path / "key")
    expected = dict(hospital.planted_rejects)
    # What a truncated file looks like depends on its encoding.
    truncated = expected.pop(Misfit.TRUNCATED)
    rejected = dict(summary.rejected)
    assert sum(rejected.pop(reason, 0) for reason in ("decode_failed", "no_pixel_data")) == truncated
    assert rejected == expected
    assert (summary.n_files, summary.n_samples, summary.n_patients) == (
        hospital.n_files,
        hospital.n_samples,
        hospital.n_patients,
    )
