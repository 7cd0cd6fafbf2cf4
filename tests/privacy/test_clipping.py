from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy import clipping
from privacy.clipping import SCALE, SCALE_BITS, PatientSum
from protocol.errors import PrivacyError
from tests.privacy.fixed_bits import fix

SHAPES = [(8, 1, 3, 3), (8,), (4, 8, 3, 3), (2, 36), ()]
SIZE = sum(math.prod(shape) for shape in SHAPES)

hostile = st.one_of(
    st.floats(width=32),  # with NaN and infinities
    st.sampled_from([1e30, -1e30, 3.4e38, 1e-40, -1e-45, 1e-20, 0.0, math.nan, math.inf, 1.0]),
)
finite = st.one_of(
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.sampled_from([1e30, -1e30, 3.4e38, 1e-40, 1e-45, 1e-20, 0.0]),
)
clip_norms = st.sampled_from([2.0**-40, 1e-6, 0.37, 1.0, 3.0, 1e6, 2.0**40])


def norm_squared(integers: np.ndarray[tuple[int], np.dtype[np.int64]]) -> int:
    """In Python's integers: nothing is rounded."""
    return sum(int(value) ** 2 for value in integers)


def patient(seed: int, scale: float = 1.0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(shape, generator=generator) for shape in SHAPES]


def alone(gradient: list[torch.Tensor], clip_norm: float = 1.0) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    total = PatientSum([tuple(tensor.shape) for tensor in gradient], clip_norm)
    total.add(gradient)
    return total.integers()


@settings(max_examples=300)
@given(st.lists(hostile, min_size=1, max_size=50), clip_norms)
def test_no_patient_adds_more_than_the_sensitivity(values: list[float], clip_norm: float) -> None:
    assert norm_squared(alone([torch.tensor(values)], clip_norm)) <= SCALE**2


@settings(max_examples=300)
@given(st.lists(finite, min_size=1, max_size=50), clip_norms)
def test_finite_gradients_are_clipped_not_dropped(values: list[float], clip_norm: float) -> None:
    gradient = torch.tensor(values)
    exact = gradient.double() / clip_norm
    expected = SCALE * exact / max(1.0, float(exact.norm()))
    difference = alone([gradient], clip_norm) - expected.numpy()
    assert np.abs(difference).max() <= 1.0 + SCALE * 2.0**-9.9  # one step for the cut, 2^-10 for the margin


@pytest.mark.parametrize("size", [1, 2**14 - 1, 2**14, 2**14 + 1, 300_000, 3_000_000])
@pytest.mark.parametrize("kind", ["equal", "normal", "one giant", "just above", "largest", "denormal"])
def test_sensitivity_of_long_gradients(size: int, kind: str) -> None:
    """Many equal values are the worst case of float32 sums; a norm just above C that of the factor's rounding."""
    generator = torch.Generator().manual_seed(0)
    gradient = {
        "equal": torch.full((size,), 0.1),
        "normal": torch.randn(size, generator=generator),
        "one giant": torch.cat([torch.tensor([1e30]), torch.rand(size - 1, generator=generator)]),
        "just above": torch.full((size,), np.float32(1.0 / math.sqrt(size))) * (1 + 2.0**-23),
        "largest": torch.full((size,), torch.finfo(torch.float32).max),
        "denormal": torch.full((size,), 1e-40),
    }[kind]
    total = PatientSum(size, 1.0)
    total.add([gradient])
    integers = total.integers()
    assert int((integers**2).sum()) <= SCALE**2  # at most 2^40 each: no wrap below 2^23 values
    if kind in ("equal", "one giant", "largest") and size * 0.1**2 > 1:
        # Cutting costs up to one step a coordinate; the rest of the clip norm is used.
        assert math.sqrt(norm_squared(integers)) > SCALE * (1 - 2.0**-9) - math.sqrt(size)
    assert total.zeroed == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 2])
def test_a_patient_whose_gradient_is_not_finite_adds_nothing(bad: float, place: int) -> None:
    total = PatientSum(SHAPES, 1.0)
    total.add(patient(0))
    before = total.integers()
    broken = patient(1)
    broken[place].view(-1)[3] = bad
    total.add(broken)
    assert (total.integers() == before).all()
    assert total.zeroed == 1


def test_doubles_that_no_float32_holds_add_nothing() -> None:
    assert not alone([torch.full((3,), 1e300, dtype=torch.float64)]).any()


def test_without_one_patient_the_sum_differs_by_exactly_that_patient() -> None:
    everybody, others = PatientSum(SHAPES, 0.7), PatientSum(SHAPES, 0.7)
    for seed in range(40):
        everybody.add(patient(seed, scale=10.0 ** (seed % 7 - 4)))
        if seed != 17:
            others.add(patient(seed, scale=10.0 ** (seed % 7 - 4)))
    assert (everybody.integers() - others.integers() == alone(patient(17, scale=10.0 ** (17 % 7 - 4)), 0.7)).all()


@given(st.permutations(range(12)))
@settings(max_examples=20)
def test_the_order_of_patients_does_not_matter(order: list[int]) -> None:
    total, sorted_total = PatientSum(SHAPES, 1.0), PatientSum(SHAPES, 1.0)
    for seed, number in zip(order, range(12), strict=True):
        total.add(patient(seed))
        sorted_total.add(patient(number))
    assert (total.integers() == sorted_total.integers()).all()


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_it_agrees_with_a_float64_reference(scale: float) -> None:
    """What is not clipped to 1e-6 of the clip norm, what is clipped to the margin of 2^-10."""
    gradient = patient(5, scale)
    flat = torch.cat([tensor.double().reshape(-1) for tensor in gradient])
    expected = flat * min(1.0, 1.0 / float(flat.norm()))
    if scale > 1.0:
        norm = float(flat.norm())
        expected = flat / (norm * (1 + 2.0**-10))
    assert np.abs(alone(gradient) / SCALE - expected.numpy()).max() < 1.01e-6


def test_values_are_cut_toward_zero() -> None:
    step = 1.0 / SCALE
    assert alone([torch.tensor([1.9 * step, -1.9 * step, 0.9 * step, 2.0 * step])]).tolist() == [1, -1, 0, 2]


def test_any_layout_in_memory_gives_the_same_vector() -> None:
    generator = torch.Generator().manual_seed(2)
    plain = [torch.randn(shape, generator=generator) for shape in [(64, 32, 3, 3), (64,), (300, 70), (16, 32, 3, 3)]]
    shapes = [tuple(tensor.shape) for tensor in plain]
    last = [tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor for tensor in plain]
    last[2] = plain[2].t().contiguous().t()
    assert not last[0].is_contiguous()
    row_major, mixed = PatientSum(shapes, 1.0), PatientSum(shapes, 1.0)
    for one, other in ((plain, last), (plain, plain)):
        row_major.add(one)
        mixed.add(other)
    assert (row_major.integers() == mixed.integers()).all()
    expected = torch.cat([tensor.reshape(-1) for tensor in plain])
    assert np.corrcoef(row_major.integers(), expected.numpy())[0, 1] > 0.999


def test_sums_beyond_32_bits_are_exact() -> None:
    total = PatientSum(1, 1.0)
    one = alone([torch.tensor([7.0])])[0]
    for _ in range(5000):
        total.add([torch.tensor([7.0])])
    assert total.integers()[0] == 5000 * int(one) > 2**32
    assert abs(float(total.noised(1.0)[0]) - 5000 * one / SCALE) < 20.0


def test_a_sum_of_no_patients_is_noised_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    fix(monkeypatch)
    for multiplier, clip_norm in ((1.0, 1.0), (2.5, 0.3)):
        noised = PatientSum([(100, 10, 10, 10)], clip_norm).noised(multiplier)
        assert noised.dtype == torch.float32
        assert noised.shape == (100_000,)
        std = float(noised.double().std()) / (multiplier * clip_norm)
        assert abs(std - 1) < 0.0074
        assert abs(std * math.sqrt(9 / 10) - 1) > 0.0074


def test_noise_lies_on_the_grid_around_the_sum() -> None:
    total = PatientSum(SHAPES, 1.0)
    total.add(patient(3))
    first, second = total.noised(1e-3).double(), total.noised(1e-3).double()
    exact = torch.from_numpy(total.integers()) / SCALE
    assert 0.5e-3 < float((first - exact).std()) < 2e-3
    assert not torch.equal(first, second)
    assert torch.equal((first * SCALE).round(), first * SCALE)


@pytest.mark.parametrize("clip_norm", [0.0, -1.0, math.nan, math.inf, 2.0**41])
def test_a_clip_norm_that_cannot_be_is_refused(clip_norm: float) -> None:
    with pytest.raises(PrivacyError):
        PatientSum(3, clip_norm)


def test_other_shapes_and_no_noise_are_refused() -> None:
    total = PatientSum(SHAPES, 1.0)
    for gradient in (patient(0)[:-1], [tensor.reshape(-1) for tensor in patient(0)]):
        with pytest.raises(PrivacyError):
            total.add(gradient)
    for multiplier in (0.0, -1.0, math.nan):
        with pytest.raises(PrivacyError):
            total.noised(multiplier)
    assert not total.integers().any()


def test_what_the_proof_counts_on() -> None:
    assert 1 << SCALE_BITS == SCALE
    assert clipping._RUN * 2.0**-24 <= 2.0**-10  # relative error of a run's sum of squares
    assert clipping._SPILL * SCALE < 2**31
    for norm in (0.0, 1e-30, 0.999, 1.0, 1.001, 3.3, 1e20, 1e42):
        for clip_norm in (2.0**-40, 0.3, 1.0, 2.0**40):
            factor = clipping._factor(norm, 1000, clip_norm)
            assert np.float32(factor) == factor
            assert factor * max(clip_norm, norm) <= SCALE


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_a_patient_the_same_sensitivity() -> None:
    total = PatientSum(SHAPES, 1.0, "cuda")
    total.add([tensor.cuda() for tensor in patient(0, 1e30)])
    assert norm_squared(total.integers()) <= SCALE**2
    assert total.noised(1.0).device.type == "cuda"
