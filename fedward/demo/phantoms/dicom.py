"""One image as a DICOM object: every attribute its storage class asks for, and the identifiers a hospital adds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    XRayRadiofluoroscopicImageStorage,
)

from fedward.demo.phantoms.device import Device, Stored, describe_grey
from fedward.demo.phantoms.identity import Person, uid

# Named plugins: which encoder runs must not depend on what else is installed, or files would differ.
_ENCODERS = {
    "RLE": (RLELossless, "pylibjpeg"),
    "JPEG2000": (JPEG2000Lossless, "pylibjpeg"),
    "JPEGLS": (JPEGLSLossless, "pyjpegls"),
}
_PRIVATE_BLOCK = 0x0019


@dataclass(frozen=True)
class Visit:
    """One image of one person: the how-manieth, and whether a name was burned into it."""

    person: Person
    number: int  # 1 for the first image at this hospital
    burned_in: bool = False

    @property
    def day(self) -> date:
        """Images are some months apart."""
        return self.person.first_visit + timedelta(days=97 * (self.number - 1))

    @property
    def age(self) -> int:
        """Completed years on that day."""
        return int((self.day - self.person.birth).days / 365.25)


def dataset(pixels: Stored, visit: Visit, device: Device, seed: int) -> Dataset:
    """Describe pixels, of shape (rows, columns) or (frames, rows, columns), completely."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    _patient(ds, visit)
    _study(ds, visit, device, seed)
    _machine(ds, visit, device)
    ds.Rows, ds.Columns = pixels.shape[-2:]
    describe_grey(ds, device)
    ds.BurnedInAnnotation = "YES" if visit.burned_in else "NO"
    ds.LossyImageCompression = "00"
    if pixels.ndim == 3:
        _cine(ds, len(pixels))
    elif device.computed:
        ds.SOPClassUID = ComputedRadiographyImageStorage
    else:
        _digital(ds)
    data = np.ascontiguousarray(pixels).tobytes()
    ds.PixelData = data + b"\0" * (len(data) % 2)
    ds["PixelData"].VR = "OB" if device.bits <= 8 else "OW"
    return ds


def save(ds: Dataset, path: Path, device: Device | None = None) -> None:
    """Write a DICOM file, compressed as the device compresses."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if device is not None and device.syntax:
        syntax, plugin = _ENCODERS[device.syntax]
        ds.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False)
    ds.save_as(path, enforce_file_format=True)


def _patient(ds: Dataset, visit: Visit) -> None:
    person = visit.person
    ds.PatientName, ds.PatientID, ds.PatientSex = person.name, person.number, person.sex
    ds.PatientBirthDate, ds.PatientAge = f"{person.birth:%Y%m%d}", f"{visit.age:03d}Y"
    ds.PatientTelephoneNumbers = f"555-{person.number[-4:]}"


def _study(ds: Dataset, visit: Visit, device: Device, seed: int) -> None:
    key = (seed, visit.person.number, visit.number)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uid("study", *key), uid("series", *key)
    ds.SOPInstanceUID = uid("image", *key)
    ds.StudyID, ds.SeriesNumber, ds.InstanceNumber = f"{visit.number}", 1, 1
    ds.AccessionNumber = f"{device.prefix}{visit.day:%y%m}{visit.person.number[-6:]}{visit.number}"
    ds.ReferringPhysicianName, ds.OperatorsName = "Castorp^Hans", "Settembrini^L"
    ds.StudyDescription = "Chest"
    hour, minute = 8 + int(visit.person.number[-1]), 6 * int(visit.person.number[-2])
    for moment in ("Study", "Series", "Acquisition", "Content"):
        setattr(ds, f"{moment}Date", f"{visit.day:%Y%m%d}")
        setattr(ds, f"{moment}Time", f"{hour:02d}{minute:02d}00")


def _machine(ds: Dataset, visit: Visit, device: Device) -> None:
    ds.Manufacturer, ds.ManufacturerModelName = device.maker, device.model
    ds.InstitutionName, ds.StationName = device.institution, device.station
    ds.DeviceSerialNumber = f"{device.prefix}{device.bits:02d}771"
    ds.Modality = "CR" if device.computed else "DX"
    ds.BodyPartExamined, ds.ViewPosition, ds.PatientOrientation = "CHEST", device.view, ["L", "F"]
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.KVP = "90" if device.view == "AP" else "120"
    ds.ImagerPixelSpacing = [device.pixel_spacing, device.pixel_spacing]
    if device.private_header:
        block = ds.private_block(_PRIVATE_BLOCK, f"{device.maker.upper()} HEADER", create=True)
        block.add_new(0x01, "LO", f"{visit.person.name} {visit.person.number}")


def _digital(ds: Dataset) -> None:
    ds.SOPClassUID = DigitalXRayImageStorageForPresentation
    ds.PresentationIntentType, ds.ImageLaterality = "FOR PRESENTATION", "U"
    ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LOG", -1
    ds.DetectorType, ds.PositionerType = "DIRECT", "NONE"
    ds.AcquisitionContextSequence = Sequence()
    region = Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "51185008", "SCT", "Chest"
    ds.AnatomicRegionSequence = Sequence([region])


def _cine(ds: Dataset, frames: int) -> None:
    """Describe a breath in several frames, as a machine that can also film stores it."""
    ds.SOPClassUID, ds.Modality = XRayRadiofluoroscopicImageStorage, "RF"
    ds.NumberOfFrames, ds.FrameTime = frames, "500"
    ds.FrameIncrementPointer = 0x00181063
    ds.ImageType = ["ORIGINAL", "PRIMARY", "SINGLE PLANE"]
    ds.PixelIntensityRelationship = "LOG"
    ds.RadiationSetting, ds.XRayTubeCurrent = "SC", 200
