"""Every way a DICOM file may carry its pixels leads to the same image, or to a reason."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from dicom_phantoms import dataset, save
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.pixels.processing import convert_color_space
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from silo_node.intake.candidate import Frame, Limits
from silo_node.intake.examination import open_candidate
from silo_node.intake.reasons import Reason, Rejection

NOISE = np.random.default_rng(7)


def frames_of(ds: Dataset, folder: Path, values: str = "display") -> list[Frame]:
    save(ds, folder / "image.dcm")
    return frames_at(folder / "image.dcm", values)


def frames_at(path: Path, values: str = "display", limits: Limits = Limits()) -> list[Frame]:  # noqa: B008
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(open_candidate(path, path.name).frames(values, limits))


def reason_for(ds: Dataset, folder: Path, values: str = "display") -> Reason:
    with pytest.raises(Rejection) as caught:
        frames_of(ds, folder, values)
    return caught.value.reason


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
@pytest.mark.parametrize("kind", ["uint8", "uint16", "int16", "rgb"])
def test_lossless_compression_changes_nothing(tmp_path, syntax, kind) -> None:
    if kind == "rgb":
        ds = dataset(NOISE.integers(0, 256, (64, 80, 3), dtype=np.uint8), photometric="RGB")
    else:
        pixels = NOISE.integers(0, 100, (64, 80)).astype(kind)
        ds = dataset(pixels - np.array(50, kind) if kind == "int16" else pixels, WindowCenter=30, WindowWidth=60)
    plain = frames_of(ds, tmp_path)[0].pixels
    ds.compress(syntax, generate_instance_uid=False)
    np.testing.assert_array_equal(frames_of(ds, tmp_path)[0].pixels, plain)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("photometric", ["MONOCHROME2", "RGB"])
def test_the_byte_order_changes_nothing(tmp_path, syntax, photometric) -> None:
    pixels = NOISE.integers(0, 60000, (6, 8) if photometric != "RGB" else (6, 8, 3)).astype(np.uint16)
    ds = dataset(pixels, photometric=photometric)
    plain = frames_of(ds, tmp_path)[0].pixels
    ds.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        ds.PixelData = pixels.byteswap().tobytes()
        ds["PixelData"].VR = "OW"
        dcmwrite(tmp_path / "image.dcm", ds, implicit_vr=False, little_endian=False, force_encoding=True)
    else:
        save(ds, tmp_path / "image.dcm")
    np.testing.assert_array_equal(frames_at(tmp_path / "image.dcm")[0].pixels, plain)


@pytest.mark.parametrize("stated", [True, False])
def test_a_negative_and_its_positive_are_the_same_image(tmp_path, stated) -> None:
    pixels = NOISE.integers(0, 4096, (16, 20)).astype(np.uint16)
    window = {"WindowCenter": 2048, "WindowWidth": 4096, "VOILUTFunction": "LINEAR_EXACT"} if stated else {}
    positive = frames_of(dataset(pixels, BitsStored=12, **window), tmp_path)[0].pixels
    mirrored = {**window, "WindowCenter": 2047} if stated else {}
    negative = dataset(4095 - pixels, photometric="MONOCHROME1", BitsStored=12, **mirrored)
    np.testing.assert_array_equal(frames_of(negative, tmp_path)[0].pixels, positive)


def test_bits_above_those_stored_are_ignored(tmp_path) -> None:
    pixels = NOISE.integers(0, 4096, (6, 8)).astype(np.uint16)
    clean = frames_of(dataset(pixels, BitsStored=12), tmp_path)[0].pixels
    overlaid = frames_of(dataset(pixels | 0x8000, BitsStored=12), tmp_path)[0].pixels
    np.testing.assert_array_equal(overlaid, clean)


def test_modality_values_are_hounsfield_units_and_never_inverted(tmp_path) -> None:
    pixels = np.array([[0, 1000, 4000]], np.uint16)
    ds = dataset(pixels, photometric="MONOCHROME1", RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=0, WindowWidth=9)
    frame = frames_of(ds, tmp_path, "modality")[0]
    assert frame.pixels.dtype == np.int16
    assert frame.units == "HU"
    np.testing.assert_array_equal(frame.pixels, [[[-1024, -24, 2976]]])


@pytest.mark.parametrize("planar", [0, 1])
def test_planes_and_pixels_are_told_apart(tmp_path, planar) -> None:
    pixels = NOISE.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    ds = dataset(pixels, photometric="RGB")
    ds.PlanarConfiguration = planar
    ds.PixelData = (pixels.transpose(2, 0, 1) if planar else pixels).tobytes()
    np.testing.assert_array_equal(frames_of(ds, tmp_path)[0].pixels, pixels.transpose(2, 0, 1))


def test_luminance_and_chrominance_become_rgb(tmp_path) -> None:
    ycc = NOISE.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    expected = convert_color_space(ycc.copy(), "YBR_FULL", "RGB").transpose(2, 0, 1)
    np.testing.assert_array_equal(frames_of(dataset(ycc, photometric="YBR_FULL"), tmp_path)[0].pixels, expected)


def test_subsampled_chrominance_becomes_rgb(tmp_path) -> None:
    grey = dataset(np.zeros((2, 4, 3), np.uint8), photometric="YBR_FULL_422")
    grey.PixelData = bytes([10, 20, 128, 128] * 4)
    expected = np.tile(np.array([10, 20], np.uint8), (3, 2, 2))
    np.testing.assert_array_equal(frames_of(grey, tmp_path)[0].pixels, expected)


@pytest.mark.parametrize(("kind", "depth"), [(np.uint8, 8), (np.uint16, 16)])
def test_palettes_are_resolved(tmp_path, kind, depth) -> None:
    ds = dataset(np.array([[0, 1], [2, 3]], np.uint8), photometric="PALETTE COLOR")
    entries = np.array([0, 50, 100, 2**depth - 1], kind)
    for position, colour in enumerate(("Red", "Green", "Blue")):
        ds.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [4, 0, depth])
        ds.add_new(f"{colour}PaletteColorLookupTableData", "OW", np.roll(entries, position).tobytes())
    frame = frames_of(ds, tmp_path)[0]
    assert frame.pixels.dtype == kind
    np.testing.assert_array_equal(frame.pixels[0], entries.reshape(2, 2))
    np.testing.assert_array_equal(frame.pixels[1], np.roll(entries, 1).reshape(2, 2))


def test_every_frame_is_an_image(tmp_path) -> None:
    pixels = NOISE.integers(0, 256, (4, 6, 8), dtype=np.uint8)
    frames = frames_of(dataset(pixels, frames=4), tmp_path)
    assert [frame.number for frame in frames] == [0, 1, 2, 3]
    np.testing.assert_array_equal(np.stack([frame.pixels[0] for frame in frames]), pixels)


@pytest.mark.parametrize("declared", ["0", "1"])
def test_zero_or_one_frame_is_one_image_without_a_number(tmp_path, declared) -> None:
    frames = frames_of(dataset(NumberOfFrames=declared), tmp_path)
    assert [frame.number for frame in frames] == [None]


def test_frames_beyond_the_declared_ones_are_left_alone(tmp_path) -> None:
    ds = dataset(np.zeros((3, 6, 8), np.uint8), frames=3)
    ds.NumberOfFrames = 2
    assert len(frames_of(ds, tmp_path)) == 2


def test_functional_groups_rule_their_own_frame(tmp_path) -> None:
    ds = dataset(np.full((2, 6, 8), 100, np.uint16), frames=2)
    shared, groups = Dataset(), []
    shared.PixelMeasuresSequence = Sequence([Dataset()])
    shared.PixelMeasuresSequence[0].PixelSpacing = [0.5, 0.25]
    for slope, center in ((1, 100), (2, 100)):
        group, rescale, voi = Dataset(), Dataset(), Dataset()
        rescale.RescaleSlope, rescale.RescaleIntercept = slope, 0
        voi.WindowCenter, voi.WindowWidth, voi.VOILUTFunction = center, 400, "LINEAR_EXACT"
        group.PixelValueTransformationSequence, group.FrameVOILUTSequence = Sequence([rescale]), Sequence([voi])
        groups.append(group)
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = Sequence([shared]), Sequence(groups)
    first, second = frames_of(ds, tmp_path)
    np.testing.assert_allclose([first.pixels[0, 0, 0], second.pixels[0, 0, 0]], [0.5 * 65535, 0.75 * 65535], atol=1)
    assert first.spacing == second.spacing == (0.5, 0.25)
    assert [frame.pixels.max() for frame in frames_at(tmp_path / "image.dcm", "modality")] == [100, 200]


@pytest.mark.parametrize(("keyword", "kind"), [("FloatPixelData", np.float32), ("DoubleFloatPixelData", np.float64)])
def test_float_pixels_take_the_range_of_the_image(tmp_path, keyword, kind) -> None:
    pixels = np.array([[-1.5, 0.0], [0.5, 2.5]], kind)
    ds = dataset(PixelData=None, BitsStored=None, HighBit=None, PixelRepresentation=None)
    ds.Rows, ds.Columns, ds.BitsAllocated = 2, 2, pixels.dtype.itemsize * 8
    setattr(ds, keyword, pixels.tobytes())
    frame = frames_of(ds, tmp_path)[0]
    assert frame.range == "image extremes"
    np.testing.assert_allclose(frame.pixels[0] / 65535, (pixels + 1.5) / 4, atol=1e-5)
    np.testing.assert_array_equal(frames_at(tmp_path / "image.dcm", "modality")[0].pixels[0], pixels)
    setattr(ds, keyword, np.array([[np.nan, 0.0], [0.5, 2.5]], kind).tobytes())
    assert reason_for(ds, tmp_path) is Reason.NOT_FINITE


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"PhotometricInterpretation": "RGB"}, Reason.PHOTOMETRIC),
        ({"PhotometricInterpretation": "HSV"}, Reason.PHOTOMETRIC),
        ({"PhotometricInterpretation": None}, Reason.PHOTOMETRIC),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, Reason.PHOTOMETRIC),
        ({"SamplesPerPixel": 3}, Reason.PHOTOMETRIC),
        ({"Rows": 0}, Reason.BROKEN_HEADER),
        ({"BitsStored": 20}, Reason.BROKEN_HEADER),
        ({"Rows": 60000, "Columns": 60000}, Reason.TOO_LARGE),
        ({"NumberOfFrames": 2_000_000_000}, Reason.TOO_LARGE),
        ({"Rows": 7}, Reason.DECODE_FAILED),
        ({"PixelData": None}, Reason.NO_PIXEL_DATA),
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, Reason.BROKEN_HEADER),
        ({"BurnedInAnnotation": "YES"}, Reason.BURNED_IN),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4"}, Reason.NOT_AN_IMAGE_CLASS),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.11", "PixelData": None}, Reason.NOT_AN_IMAGE_CLASS),
        ({"SOPClassUID": "1.2.840.10008.1.3.10"}, Reason.DICOMDIR),
    ],
)
def test_what_cannot_be_an_image_gets_its_reason(tmp_path, changes, reason) -> None:
    assert reason_for(dataset(**changes), tmp_path) is reason


def test_an_unknown_transfer_syntax_has_its_own_reason(tmp_path) -> None:
    save(dataset(), tmp_path / "image.dcm")
    data = (tmp_path / "image.dcm").read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0")
    (tmp_path / "image.dcm").write_bytes(data)
    with pytest.raises(Rejection) as caught:
        frames_at(tmp_path / "image.dcm")
    assert caught.value.reason is Reason.UNSUPPORTED


@pytest.mark.parametrize("little", [True, False])
def test_a_dataset_without_preamble_or_meta_is_read(tmp_path, little) -> None:
    ds = dataset()
    expected = frames_of(ds, tmp_path)[0].pixels
    bare = Dataset({element.tag: element for element in ds})
    bare.save_as(tmp_path / "bare", implicit_vr=little, little_endian=True)
    assert not dcmread(tmp_path / "bare", force=True).get("preamble")
    np.testing.assert_array_equal(frames_at(tmp_path / "bare")[0].pixels, expected)
