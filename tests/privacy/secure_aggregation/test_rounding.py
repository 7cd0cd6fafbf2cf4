"""Stochastic rounding of masked values: right on average, within one step, the same again, and never out of the width."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.secure_aggregation.fixed_point import check_width, quantise
from privacy.secure_aggregation.payload import mean_of, payload
from privacy.secure_aggregation.sizing import overflow_proof, sizing
from protocol.errors import PrivacyError
from protocol.rounding import Rounding
from tests.conftest import tiny_plan

N = 200_000


def steps(values: np.ndarray, scale_bits: int, bound: float, seed: int) -> np.ndarray:
    return quantise(values, scale_bits, bound, 16, Rounding(seed)).view("<i2").astype(np.int64)


@pytest.mark.parametrize("fraction", [0.001, 0.0625, 0.3, 0.5, 0.875, 0.999])
@pytest.mark.parametrize("whole", [-7, -1, 0, 1, 250])
def test_a_value_is_right_on_average_also_where_the_nearest_would_be_zero(fraction: float, whole: int) -> None:
    value = (whole + fraction) / 64
    found = steps(np.full(N, value), 6, 64.0, seed=whole + 10)
    assert set(np.unique(found)) <= {whole, whole + 1}
    error = (found.mean() - (whole + fraction)) / math.sqrt(fraction * (1 - fraction) / N)
    assert abs(error) < 4.5  # 1 in 150,000 by chance; the seeds are fixed


def test_the_z_test_would_notice_rounding_to_the_nearest() -> None:
    found = quantise(np.full(N, 0.3 / 64), 6, 64.0, 16).view("<i2")
    assert abs(found.mean() - 0.3) / math.sqrt(0.3 * 0.7 / N) > 100


def test_decisions_of_neighbouring_values_do_not_depend_on_each_other() -> None:
    ups = steps(np.full(N, 0.5), 0, 64.0, seed=5)
    for lag in (1, 2, 16, 65_536):
        assert abs(np.corrcoef(ups[:-lag], ups[lag:])[0, 1]) < 5 / math.sqrt(N)


@given(
    values=st.lists(st.floats(-100.0, 100.0, width=32), min_size=1, max_size=40),
    n=st.integers(1, 50),
    scale_bits=st.integers(0, 14),
    bound=st.floats(1e-3, 64.0),
    seed=st.integers(0, 2**63 - 1),
)
def test_an_error_is_below_one_step_the_bound_holds_and_a_sum_of_all_silos_does_not_wrap(
    values: list[float], n: int, scale_bits: int, bound: float, seed: int
) -> None:
    try:
        check_width(n, bound, scale_bits, 16)
    except PrivacyError:
        return
    vector = np.asarray(values, dtype=np.float32)
    one = steps(vector, scale_bits, bound, seed)
    exact = np.clip(vector.astype(np.float64), -bound, bound) * 2.0**scale_bits
    assert np.all(np.abs(one - exact) < 1.0)
    assert np.abs(one).max() <= math.ceil(bound * 2**scale_bits)
    assert n * np.abs(one).max() <= 2**15 - 1
    whole = exact == np.rint(exact)
    assert np.array_equal(one[whole], exact[whole])


def test_rounding_is_fixed_by_the_seed_and_another_seed_rounds_otherwise() -> None:
    values = np.random.default_rng(0).normal(0.0, 0.01, 100_000)
    first = steps(values, 6, 64.0, seed=1)
    assert np.array_equal(first, steps(values, 6, 64.0, seed=1))
    assert np.mean(first != steps(values, 6, 64.0, seed=2)) > 0.1


@pytest.mark.parametrize(("width", "differ"), [(16, True), (32, False), (64, False)])
def test_at_16_bits_silos_and_rounds_round_apart_and_a_repeated_attempt_alike(width: int, differ: bool) -> None:
    privacy = {"mechanism": "none", "secure_aggregation": True, "width_bits": width}
    plan = tiny_plan(**{"privacy": privacy, "federation.weighting": "uniform"})
    update, wanted = np.random.default_rng(1).normal(0.0, 0.01, 5000).astype(np.float32), sizing(plan, 4)
    first = payload(plan, wanted, update, 0, "a", 1)
    assert np.array_equal(first, payload(plan, wanted, update, 0, "a", 1))
    assert np.array_equal(first, payload(plan, wanted, update, 0, "b", 1)) is not differ
    assert np.array_equal(first, payload(plan, wanted, update, 0, "a", 2)) is not differ


def test_small_updates_survive_16_bits_on_average() -> None:
    """Each value is a third of a step: to the nearest they were all lost."""
    privacy = {"mechanism": "none", "secure_aggregation": True, "width_bits": 16}
    plan = tiny_plan(**{"privacy": privacy, "federation.weighting": "uniform"})
    step = overflow_proof(plan, 4)["step"]
    update, names = np.full(N, step / 3, dtype=np.float32), ("a", "b", "c", "d")
    total = np.sum([payload(plan, sizing(plan, 4), update, 0, name, 1).view("<i2") for name in names], axis=0)
    mean, _ = mean_of(plan, total, names, 4, 1.0)
    assert float(mean.mean()) == pytest.approx(step / 3, rel=0.01)


@pytest.mark.parametrize("width", [16, 32, 64])
def test_the_arithmetic_shown_to_people_still_covers_the_largest_sum(width: int) -> None:
    privacy = {"mechanism": "none", "secure_aggregation": True, "width_bits": width, "update_bound": 3.7}
    plan = tiny_plan(**{"privacy": privacy, "federation.weighting": "uniform"})
    proof, wanted = overflow_proof(plan, 5), sizing(plan, 5)
    worst = payload(plan, wanted, np.full(1000, 1e9, np.float32), 0, "a", 1).view(f"<i{width // 8}")
    assert 5 * int(worst.max()) <= proof["largest_sum"] <= proof["room"]
