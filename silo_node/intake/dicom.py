"""One DICOM file: its header, and its frames on request."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from silo_node.cohort.format import Values
from silo_node.intake.attribute_privacy import Identifiers
from silo_node.intake.candidate import Candidate, Facts, Frame, Limits
from silo_node.intake.dicom_pixels import PIXEL_KEYWORDS, frames
from silo_node.intake.dicom_values import age, day, identifier, items, line, sex, text
from silo_node.intake.label_table import KEYS
from silo_node.intake.reasons import Reason, Rejection

DICOMDIR = "1.2.840.10008.1.3.10"
NOT_IMAGES = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.66.4",  # segmentation: labels drawn on an image
        "1.2.840.10008.5.1.4.1.1.66.7",  # label map segmentation
        "1.2.840.10008.5.1.4.1.1.481.2",  # RT dose
        "1.2.840.10008.5.1.4.1.1.30",  # parametric map
    }
)
NAMES = (
    "PatientName",
    "PatientBirthName",
    "PatientMotherBirthName",
    "OtherPatientNames",
    "ResponsiblePerson",
    "ReferringPhysicianName",
    "RequestingPhysician",
    "PerformingPhysicianName",
    "NameOfPhysiciansReadingStudy",
    "PhysiciansOfRecord",
    "OperatorsName",
)
NUMBERS = (
    "PatientID",
    "OtherPatientIDs",
    "AccessionNumber",
    "AdmissionID",
    "StudyID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "PatientTelephoneNumbers",
    "PatientAddress",
    "MedicalRecordLocator",
)


def read_dicom(path: Path) -> Candidate:
    """The DICOM file at `path`, its header understood. Raises Rejection."""
    dataset = read_dataset(path)
    identity = {key: value for key in KEYS if key != "file" and (value := identifier(dataset, key))}
    _refuse_by_header(dataset, identity)
    return Candidate(
        identity=identity,
        issuer=identifier(dataset, "IssuerOfPatientID"),
        facts=Facts(
            encoding=dataset.file_meta.TransferSyntaxUID.name,
            sex=sex(dataset),
            age=age(dataset),
            manufacturer=line(dataset, "Manufacturer"),
            model=line(dataset, "ManufacturerModelName"),
            modality=line(dataset, "Modality"),
            text_free=text(dataset, "BurnedInAnnotation") == "NO",
        ),
        frames=partial(_frames, dataset),
        identifiers=_identifiers(dataset),
    )


def _identifiers(dataset: Dataset) -> Identifiers:
    others = [identifier(other, "PatientID") for other in items(dataset, "OtherPatientIDsSequence")]
    return Identifiers(
        names=tuple(filter(None, (identifier(dataset, name) for name in NAMES))),
        numbers=tuple(filter(None, [*(identifier(dataset, name) for name in NUMBERS), *others])),
        born=day(dataset, "PatientBirthDate"),
    )


def _frames(dataset: Dataset, values: Values, limits: Limits) -> Iterator[Frame]:
    return frames(dataset, values, limits)


def read_dataset(path: Path) -> Dataset:
    """The dataset at `path`, with or without a preamble; its transfer syntax is always set. Raises Rejection."""
    try:
        dataset = dcmread(path, force=True)
        _ensure_transfer_syntax(dataset)
    except (Rejection, MemoryError, OSError):
        raise
    except Exception as error:  # pydicom raises whatever a damaged header leads it to
        raise Rejection(Reason.BROKEN_HEADER) from error
    return dataset


def _ensure_transfer_syntax(dataset: Dataset) -> None:
    if not any(element.tag.group > 2 for element in list(dataset)[:1]) and not hasattr(dataset, "file_meta"):
        raise Rejection(Reason.BROKEN_HEADER)
    if not hasattr(dataset, "file_meta"):
        dataset.file_meta = FileMetaDataset()
    if isinstance(dataset.file_meta.get("TransferSyntaxUID"), UID):
        return
    implicit, little = dataset.original_encoding
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    dataset.file_meta.TransferSyntaxUID = syntax


def _refuse_by_header(dataset: Dataset, identity: dict[str, str]) -> None:
    """Rejection, with the identity so that its label line counts as found, if the header says it is not wanted."""
    sop_class = UID(identifier(dataset, "SOPClassUID"))
    if DICOMDIR in (dataset.file_meta.get("MediaStorageSOPClassUID"), sop_class):
        raise Rejection(Reason.DICOMDIR, identity)
    if sop_class in NOT_IMAGES:
        raise Rejection(Reason.NOT_AN_IMAGE_CLASS, identity)
    if not any(keyword in dataset for keyword in PIXEL_KEYWORDS):
        if sop_class and "Image" not in sop_class.name:
            raise Rejection(Reason.NOT_AN_IMAGE_CLASS, identity)
        raise Rejection(Reason.NO_PIXEL_DATA, identity)
    if text(dataset, "BurnedInAnnotation") == "YES":
        raise Rejection(Reason.BURNED_IN, identity)
