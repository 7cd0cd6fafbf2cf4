from __future__ import annotations

import pytest
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from fedward.demo.phantoms import Hospital
from tests.fedward.demo.phantoms.inspection import Findings, displayed, files, inspect, labels, strictly_valid


@pytest.fixture
def found(hospital: Hospital) -> Findings:
    return inspect(files(hospital), {row["SOPInstanceUID"] for row in labels(hospital.labels)})


def test_every_file_is_a_good_image_or_a_planted_reject(hospital: Hospital, found: Findings) -> None:
    assert dict(found.rejects) == dict(hospital.planted_rejects)
    assert len(found.good) == hospital.n_images
    assert len(files(hospital)) == hospital.n_files
    assert sum(int(ds.get("NumberOfFrames", 1)) for ds in found.good) == hospital.n_samples
    assert sum("NumberOfFrames" in ds for ds in found.good) == hospital.n_multiframe


def test_every_element_is_valid(found: Findings) -> None:
    for ds in found.good:
        strictly_valid(ds)
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
            assert UID(ds[keyword].value).is_valid
        assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
        assert ds.file_meta.MediaStorageSOPClassUID == ds.SOPClassUID


def test_instances_are_unique_and_studies_belong_to_one_patient(found: Findings) -> None:
    assert len({ds.SOPInstanceUID for ds in found.good}) == len(found.good)
    owners = {(ds.StudyInstanceUID, ds.PatientID) for ds in found.good}
    assert len({study for study, _ in owners}) == len(owners)


def test_pixels_fit_their_bits_and_use_them(found: Findings) -> None:
    for ds in found.good:
        pixels = ds.pixel_array
        assert pixels.shape[-2:] == (ds.Rows, ds.Columns)
        assert 96 <= min(ds.Rows, ds.Columns) <= max(ds.Rows, ds.Columns) <= 160
        assert pixels.max() < 2**ds.BitsStored
        assert pixels.max() - pixels.min() > 0.4 * 2**ds.BitsStored


def test_air_is_dark_and_the_belly_is_bright_once_displayed(found: Findings) -> None:
    """Fails if MONOCHROME1, a rescale, a window or a look-up table says the opposite of the pixels."""
    for ds in found.good:
        shown = displayed(ds)
        rows, columns = shown.shape
        assert shown[: rows // 16, : columns // 16].mean() < 0.3
        assert shown[-rows // 8 :, columns // 3 : -columns // 3].mean() > 0.65


@pytest.mark.parametrize(
    ("name", "syntax", "photometric", "bits"),
    [
        ("northgate", ExplicitVRLittleEndian, "MONOCHROME2", 14),
        ("harbour", RLELossless, "MONOCHROME1", 10),
        ("st-brigid", JPEG2000Lossless, "MONOCHROME2", 12),
        ("valley", JPEGLSLossless, "MONOCHROME2", 8),
    ],
)
def test_hospitals_encode_differently(
    written: dict[str, Hospital], name: str, syntax: UID, photometric: str, bits: int
) -> None:
    hospital = written[name]
    found = inspect(files(hospital), {row["SOPInstanceUID"] for row in labels(hospital.labels)})
    encodings = {(ds.file_meta.TransferSyntaxUID, ds.PhotometricInterpretation, ds.BitsStored) for ds in found.good}
    assert encodings == {(syntax, photometric, bits)}


def test_identifiers_are_there_to_be_removed(found: Findings) -> None:
    for ds in found.good:
        assert all(ds[keyword].value for keyword in ("PatientName", "PatientBirthDate", "AccessionNumber", "InstitutionName"))
        assert ds.PatientSex in ("F", "M")
        assert 18 <= int(ds.PatientAge[:3]) <= 95
        age_at_visit = (int(ds.StudyDate) - int(ds.PatientBirthDate)) // 10_000
        assert abs(int(ds.PatientAge[:3]) - age_at_visit) <= 1


def test_one_maker_repeats_the_name_in_a_private_element(written: dict[str, Hospital]) -> None:
    path = next(path for path in files(written["northgate"]) if path.name.startswith("IM"))
    (ds,) = inspect([path], {row["SOPInstanceUID"] for row in labels(written["northgate"].labels)}).good
    private = [element for element in ds if element.tag.is_private and not element.tag.is_private_creator]
    assert any(str(ds.PatientName) in str(element.value) for element in private)
