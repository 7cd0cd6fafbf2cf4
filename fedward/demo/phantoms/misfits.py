"""Files that a real export brings along and no importer may turn into a sample.

Every hospital has a few, and says how many of each it has in `Hospital.planted_rejects`.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import BasicTextSRStorage

from fedward.demo.phantoms.identity import uid


class Misfit(StrEnum):
    """Why a file must be rejected, in the importer's words where it has one word for it.

    The first three are files of their own, the others are made from an image.
    """

    NOT_DICOM = "not_an_image"  # a text file
    NO_PIXELS = "not_an_image_class"  # a structured report
    DUPLICATE = "duplicate_instance"  # the same instance a second time, byte for byte; the other one is good
    TRUNCATED = "truncated"  # the copy broke off within the pixels; labelled. decode_failed, or no_pixel_data if compressed
    NO_LABEL = "no_label"  # a good image that the labels file does not mention
    BURNED_IN = "burned_in_annotation"  # BurnedInAnnotation is YES and a name is legible in the pixels; it has a label


# Each of these is an extra image of some patient.
IMAGES = (Misfit.TRUNCATED, Misfit.NO_LABEL, Misfit.BURNED_IN)


def text(path: Path) -> None:
    """Write the note that somebody left in the export."""
    path.write_text("Export finished with warnings. Ask Marta before deleting anything here.\n", encoding="utf-8")


def cut(path: Path) -> None:
    """Break the file off within its pixels, as an interrupted copy does."""
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])


def report(source: Path) -> Dataset:
    """Return a structured report on the study of an image: valid DICOM, no pixels."""
    image = dcmread(source, stop_before_pixels=True)
    ds = Dataset()
    kept = (
        "SpecificCharacterSet", "InstitutionName", "Manufacturer", "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID",
        "AccessionNumber", "ReferringPhysicianName", "PatientName", "PatientID", "PatientBirthDate", "PatientSex",
    )  # fmt: skip
    for keyword in kept:
        ds[keyword] = image[keyword]
    ds.SOPClassUID, ds.SOPInstanceUID = BasicTextSRStorage, uid("report", image.SOPInstanceUID)
    ds.Modality, ds.SeriesInstanceUID = "SR", uid("report series", image.SOPInstanceUID)
    ds.SeriesNumber, ds.InstanceNumber = 9, 1
    ds.ContentDate, ds.ContentTime = image.StudyDate, image.StudyTime
    ds.CompletionFlag, ds.VerificationFlag = "COMPLETE", "UNVERIFIED"
    ds.ReferencedPerformedProcedureStepSequence = Sequence()
    ds.PerformedProcedureCodeSequence = Sequence()
    ds.ValueType, ds.ContinuityOfContent = "CONTAINER", "SEPARATE"
    ds.ConceptNameCodeSequence = Sequence([_code("18748-4", "LN", "Diagnostic imaging report")])
    line = Dataset()
    line.RelationshipType, line.ValueType = "CONTAINS", "TEXT"
    line.ConceptNameCodeSequence = Sequence([_code("121071", "DCM", "Finding")])
    line.TextValue = f"Chest radiograph of {image.PatientName}: see images."
    ds.ContentSequence = Sequence([line])
    return ds


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code
