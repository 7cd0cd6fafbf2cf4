"""Grey values follow PS3.3 C.11; pydicom's helpers are the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from dicom_phantoms import dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from silo_node.intake.dicom_pixels import read_layout
from silo_node.intake.dicom_transform import grey_transform
from silo_node.intake.display import GreyTransform, Window, compact, quantise, tabulated


def transform_of(ds: Dataset) -> GreyTransform:
    return grey_transform(ds, read_layout(ds), 0, little_endian=True)


def lookup(first: int, bits: int, entries: list[int]) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(entries), first, bits]
    item.LUTData = entries
    item["LUTData"].VR = "US"
    item["LUTDescriptor"].VR = "SS" if first < 0 else "US"
    return item


def oracle_fraction(stored: np.ndarray, ds: Dataset) -> np.ndarray:
    """pydicom's values mapped to the fraction of pydicom's own output range."""
    with np.errstate(over="ignore"):  # pydicom's sigmoid overflows far outside the window
        shown = apply_voi_lut(apply_modality_lut(stored, ds), ds).astype(np.float64)
    low, high = (
        (-(2.0 ** (ds.BitsStored - 1)), 2.0 ** (ds.BitsStored - 1) - 1)
        if ds.PixelRepresentation
        else (0.0, 2.0**ds.BitsStored - 1)
    )
    slope, intercept = float(ds.get("RescaleSlope", 1)), float(ds.get("RescaleIntercept", 0))
    low, high = low * slope + intercept, high * slope + intercept
    return (shown - low) / (high - low)


@settings(deadline=None)
@given(
    signed=st.booleans(),
    bits=st.integers(9, 16),
    slope=st.sampled_from([None, 1.0, 0.5, 2.25]),
    intercept=st.integers(-2000, 2000),
    center=st.integers(-3000, 5000),
    width=st.integers(1, 6000),
    function=st.sampled_from([None, "LINEAR", "LINEAR_EXACT", "SIGMOID"]),
)
def test_rescale_and_window_agree_with_pydicom(signed, bits, slope, intercept, center, width, function) -> None:
    kind = np.int16 if signed else np.uint16
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    stored = np.linspace(low, high, 200).astype(kind).reshape(10, 20)
    ds = dataset(stored, BitsStored=bits, WindowCenter=center, WindowWidth=width)
    if slope is not None:
        ds.RescaleSlope, ds.RescaleIntercept = slope, intercept
    if function is not None:
        ds.VOILUTFunction = function
    transform = transform_of(ds)
    np.testing.assert_allclose(transform.modality(stored), apply_modality_lut(stored, ds), rtol=1e-12)
    np.testing.assert_allclose(transform.display(stored), oracle_fraction(stored, ds), atol=1e-9)


def test_the_first_of_several_windows_is_used() -> None:
    ds = dataset(WindowCenter=[20, 999], WindowWidth=[10, 999])
    assert transform_of(ds).voi == Window(20.0, 10.0)


@pytest.mark.parametrize("width", [0, -5])
def test_a_placeholder_window_is_no_window(width) -> None:
    assert transform_of(dataset(WindowCenter=0, WindowWidth=width)).voi is None


@pytest.mark.parametrize("first", [0, 3, 40])
def test_modality_tables_agree_with_pydicom(first) -> None:
    ds = dataset(ModalityLUTSequence=[lookup(first, 16, list(range(1000, 1032)))])
    np.testing.assert_array_equal(transform_of(ds).modality(ds.pixel_array), apply_modality_lut(ds.pixel_array, ds))


@pytest.mark.parametrize(("bits", "step"), [(8, 7), (12, 120), (16, 2000)])
def test_voi_tables_are_preferred_and_agree_with_pydicom(bits, step) -> None:
    entries = [i * step for i in range(32)]
    ds = dataset(VOILUTSequence=[lookup(5, bits, entries)], WindowCenter=1, WindowWidth=2)
    expected = apply_voi_lut(ds.pixel_array, ds) / (2**bits - 1)
    np.testing.assert_allclose(transform_of(ds).display(ds.pixel_array), expected)


def test_without_a_window_the_range_is_what_the_bits_can_hold() -> None:
    stored = np.array([[0, 1024, 4095]], np.uint16)
    np.testing.assert_allclose(transform_of(dataset(stored, BitsStored=12)).display(stored), [[0, 1024 / 4095, 1.0]])


def test_padding_is_black_in_both_polarities() -> None:
    stored = np.array([[-2000, 0, 100]], np.int16)
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        ds = dataset(stored, photometric=photometric, PixelPaddingValue=-2000, WindowCenter=50, WindowWidth=100)
        assert transform_of(ds).display(stored)[0, 0] == 0.0


def test_padding_written_unsigned_for_signed_pixels_is_understood() -> None:
    ds = dataset(np.array([[-2000, 1]], np.int16))
    ds.add_new("PixelPaddingValue", "US", 63536)
    assert transform_of(ds).padding == (-2000.0, -2000.0)


@given(bits=st.integers(1, 16), values=st.lists(st.floats(0, 1), min_size=1))
def test_quantising_is_right_to_half_a_step(bits, values) -> None:
    quantised = quantise(np.array(values), bits)
    top = 255 if bits <= 8 else 65535
    assert np.abs(quantised / top - values).max() <= 0.5 / top + 1e-12


def test_a_table_gives_what_the_function_gives() -> None:
    stored = np.random.default_rng(0).integers(-50, 50, (64, 64)).astype(np.int16)
    transform = GreyTransform(-32768, 32767, 2.0, 5.0, voi=Window(10, 80), inverted=True)
    np.testing.assert_array_equal(tabulated(transform.display, stored), transform.display(stored))


def test_whole_numbers_are_kept_in_two_bytes_and_fractions_in_four() -> None:
    assert compact(np.array([-1024.0, 3071.0])).dtype == np.int16
    assert compact(np.array([0.5])).dtype == np.float32
    assert compact(np.array([40000.0])).dtype == np.float32
