from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.secure_aggregation.fixed_point import check_width, dequantise, quantise
from protocol.errors import PrivacyError


def test_the_largest_sum_that_fits_passes_and_one_step_more_does_not() -> None:
    check_width(4, 2047.0, 18, 32)
    largest = float(Fraction(2**31 - 1, 2**20))  # one silo, steps of 2^-20
    check_width(1, largest, 20, 32)
    with pytest.raises(PrivacyError):
        check_width(1, float(np.nextafter(largest, np.inf)), 20, 32)
    with pytest.raises(PrivacyError, match=r"10 silos x 300 x 2\^20 reach 3145728000.*holds 2147483647.*at most 19"):
        check_width(10, 300.0, 20, 32)


def test_a_bound_for_which_no_scale_is_small_enough_says_none() -> None:
    with pytest.raises(PrivacyError, match="at most none"):
        check_width(10, 4000.0, 2, 16)


@pytest.mark.parametrize(
    ("n", "bound", "scale_bits", "width"),
    [
        (0, 1.0, 20, 32),
        (4, 0.0, 20, 32),
        (4, -1.0, 20, 32),
        (4, float("nan"), 20, 32),
        (4, float("inf"), 20, 32),
        (4, 1.0, -1, 32),
        (4, 1.0, 53, 64),
        (4, 1.0, 20, 8),
        (4, 1.0, 20, 128),
    ],
)
def test_numbers_out_of_range_are_refused(n: int, bound: float, scale_bits: int, width: int) -> None:
    with pytest.raises(PrivacyError):
        check_width(n, bound, scale_bits, width)


@given(
    data=st.data(),
    n=st.integers(1, 50),
    width=st.sampled_from([16, 32, 64]),
    scale_bits=st.integers(0, 52),
    bound=st.floats(1e-3, 1e6),
    precision=st.sampled_from([np.float32, np.float64]),
)
def test_where_the_width_is_proven_the_sum_is_exact_on_the_grid_and_near_the_true_one(
    data: st.DataObject, n: int, width: int, scale_bits: int, bound: float, precision: type
) -> None:
    try:
        check_width(n, bound, scale_bits, width)
    except PrivacyError:
        return
    limit = float(np.nextafter(precision(bound), precision(0)))
    one = np.asarray(data.draw(st.lists(st.floats(-limit, limit), min_size=1, max_size=20)), dtype=precision)
    total = quantise(one, scale_bits, bound, width)
    for _ in range(n - 1):
        total = total + quantise(one, scale_bits, bound, width)
    signed = total.view(f"<i{width // 8}")
    steps = quantise(one, scale_bits, bound, width).view(f"<i{width // 8}")
    assert [int(value) for value in signed] == [n * int(step) for step in steps]  # nothing wrapped around
    np.testing.assert_allclose(dequantise(signed, scale_bits, n), one, atol=0.51 * 2.0**-scale_bits, rtol=1e-6)


def test_values_beyond_the_bound_are_clipped_to_it() -> None:
    values = np.array([-1e30, -2.0, -0.5, 0.0, 0.5, 2.0, 1e30], dtype=np.float32)
    steps = quantise(values, 10, 1.0, 32).view("<i4")
    assert steps.tolist() == [-1024, -1024, -512, 0, 512, 1024, 1024]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [0, 65_535, 65_536, 99_999])
def test_a_single_nan_or_infinity_is_refused(bad: float, where: int) -> None:
    values = np.zeros(100_000, dtype=np.float32)
    values[where] = bad
    with pytest.raises(PrivacyError, match="NaN or infinity"):
        quantise(values, 20, 1.0, 32)


@pytest.mark.parametrize("values", [np.zeros(3, np.int64), np.zeros(3, np.float16), np.zeros((2, 2), np.float32)])
def test_other_kinds_of_vectors_are_refused(values: np.ndarray) -> None:
    with pytest.raises(PrivacyError, match="flat vector"):
        quantise(values, 20, 1.0, 32)


def test_one_value_that_cannot_fit_and_a_mean_of_nobody_are_refused() -> None:
    with pytest.raises(PrivacyError, match="1 silos"):
        quantise(np.zeros(3, np.float32), 20, 4096.0, 32)
    with pytest.raises(PrivacyError, match="no mean"):
        dequantise(np.zeros(3, np.int32), 20, 0)
