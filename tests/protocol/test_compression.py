"""What travels in place of float32: right on average, of fixed length, and nothing else is read."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from protocol.compression import BLOCK, compress, decompress, n_bytes, n_kept
from protocol.errors import MessageError, PlanError, TrainingError, UpdateError
from protocol.plan import parse_plan
from protocol.plan.compression import Compression, NoCompression, Quantised, TopK
from protocol.rounding import Rounding
from tests.conftest import PRIVATE, tiny_plan

NONE, EIGHT, SIXTEEN = NoCompression(name="none"), Quantised(name="quantised", bits=8), Quantised(name="quantised", bits=16)
TENTH = TopK(name="top_k", fraction=0.1)
ALL = (NONE, EIGHT, SIXTEEN, TENTH)
READABLE: dict[str, Any] = {"privacy": {"mechanism": "none", "secure_aggregation": False}}


def sent(how: Compression, values: np.ndarray, seed: int = 1) -> np.ndarray:
    return decompress(how, compress(how, values, Rounding(seed)), values.size)


def normal(size: int, seed: int = 0, scale: float = 0.01) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, scale, size).astype(np.float32)


# ---------------------------------------------------------------------------------------------------------------- the plan


@pytest.mark.parametrize(
    ("compression", "says"),
    [
        ({"name": "quantised", "bits": 4}, "8 or 16"),
        ({"name": "quantised"}, "bits"),
        ({"name": "top_k", "fraction": 0.0}, "greater than 0"),
        ({"name": "top_k", "fraction": 1.0}, "less than 1"),
        ({"name": "zip"}, "'quantised', 'top_k'"),
    ],
)
def test_a_compression_that_is_none_is_refused(compression: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        tiny_plan(**READABLE, **{"federation.compression": compression})
    assert says in str(caught.value)


@pytest.mark.parametrize("compression", [{"name": "quantised", "bits": 8}, {"name": "top_k", "fraction": 0.1}])
def test_under_secure_aggregation_the_refusal_says_what_to_set_instead(compression: dict[str, Any]) -> None:
    changes = {"federation.compression": compression}
    for plan in ({}, PRIVATE):
        privacy = plan.get("privacy", {"mechanism": "none"})
        assert tiny_plan(**plan | changes | {"privacy": privacy | {"secure_aggregation": False}})
        with pytest.raises(ValidationError, match=r"set privacy\.width_bits to 16"):
            tiny_plan(**plan | changes | {"privacy": privacy | {"secure_aggregation": True}})


def test_the_default_is_none_and_a_wrong_number_is_named_with_its_line() -> None:
    plan = tiny_plan(**READABLE, **{"federation.compression": {"name": "top_k", "fraction": 0.25}})
    assert tiny_plan().federation.compression == NONE
    assert parse_plan(plan.canonical.decode()).digest == plan.digest
    with pytest.raises(PlanError, match=r"plan:2: federation\.compression(\.top_k)?\.fraction: "):
        parse_plan(plan.canonical.decode().replace('"fraction":0.25', '\n"fraction":7'))


# --------------------------------------------------------------------------------------------------------------- the values


@pytest.mark.parametrize("how", ALL, ids=lambda how: how.name)
@pytest.mark.parametrize("size", [1, 5, BLOCK - 1, BLOCK, BLOCK + 1, 70_000])
def test_the_length_is_fixed_by_plan_and_network_and_no_value_is_lost_track_of(how: Compression, size: int) -> None:
    for values in (normal(size), np.zeros(size, np.float32), np.full(size, -3.5, np.float32)):
        data = compress(how, values, Rounding(3))
        assert len(data) == n_bytes(how, size)
        found = decompress(how, bytes(data), size)
        assert (found.dtype, found.shape) == (np.float32, (size,))
        assert np.isfinite(found).all()
        if not values.any():
            assert not found.any()


def test_how_long_an_upload_is() -> None:
    whole = n_bytes(NONE, 1_000_000)
    assert whole == 4_000_000
    assert n_bytes(SIXTEEN, 1_000_000) / whole == pytest.approx(1 / 2, rel=0.01)
    assert n_bytes(EIGHT, 1_000_000) / whole == pytest.approx(1 / 4, rel=0.02)
    assert n_bytes(TENTH, 1_000_000) / whole == pytest.approx(0.15, rel=0.01)


def test_without_compression_the_bytes_are_the_float32_themselves() -> None:
    values = normal(1000)
    assert bytes(compress(NONE, values, Rounding(0))) == values.tobytes()
    assert np.array_equal(sent(NONE, values), values)


@given(
    values=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=60),
    bits=st.sampled_from([8, 16]),
    seed=st.integers(0, 2**63 - 1),
)
def test_every_value_comes_back_within_one_step_of_its_block_and_finite(values: list[float], bits: int, seed: int) -> None:
    vector = np.asarray(values, dtype=np.float32)
    found = sent(Quantised(name="quantised", bits=bits), vector, seed).astype(np.float64)
    exact = np.clip(vector.astype(np.float64), -1e38, 1e38)
    step = np.abs(exact).max() / (2 ** (bits - 1) - 1)
    assert np.isfinite(found).all()
    assert np.abs(found - exact).max() <= step * 1.000001 + 3e-45  # half the least float32 may be lost in a scale


@pytest.mark.parametrize("how", [EIGHT, SIXTEEN], ids=("8", "16"))
def test_rounding_is_right_on_average(how: Quantised) -> None:
    values, repeats = normal(BLOCK), 2000
    levels = 2 ** (how.bits - 1) - 1
    step = np.abs(values).max() / levels
    rounding = Rounding(11)
    found = np.array([decompress(how, compress(how, values, rounding), BLOCK) for _ in range(repeats)], dtype=np.float64)
    fraction = np.mod(values / step, 1.0)
    sure = (fraction > 0.05) & (fraction < 0.95)
    z = (found.mean(axis=0) - values)[sure] / (step * np.sqrt(fraction * (1 - fraction) / repeats))[sure]
    assert sure.sum() > 800
    assert np.abs(z).max() < 5
    assert z.std() == pytest.approx(1.0, abs=0.12)  # neither biased nor correlated over the values
    nearest = np.rint(values / step) * step
    assert np.abs((nearest - values)[sure] / (step * np.sqrt(fraction * (1 - fraction) / repeats))[sure]).max() > 20


def test_a_value_that_dwarfs_all_others_costs_only_its_own_block() -> None:
    values = normal(3 * BLOCK)
    values[BLOCK] = 1e6
    error = np.abs(sent(EIGHT, values) - values)
    assert error[:BLOCK].max() < 1e-3
    assert error[2 * BLOCK :].max() < 1e-3
    assert error[BLOCK] <= 1e6 / 127


@pytest.mark.parametrize("how", [EIGHT, SIXTEEN, TENTH], ids=lambda how: how.name)
def test_the_same_seed_gives_the_same_bytes(how: Compression) -> None:
    values = normal(5000)
    assert bytes(compress(how, values, Rounding(1))) == bytes(compress(how, values, Rounding(1)))
    assert bytes(compress(how, values, Rounding(1))) != bytes(compress(how, values, Rounding(2)))


@given(
    values=st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=200),
    fraction=st.floats(0.001, 0.999),
)
def test_top_k_sends_the_largest_and_leaves_the_rest(values: list[float], fraction: float) -> None:
    how, vector = TopK(name="top_k", fraction=fraction), np.asarray(values, dtype=np.float32)
    data = bytes(compress(how, vector, Rounding(4)))
    places = np.frombuffer(data, "<u4", n_kept(how, vector.size))
    left = np.delete(np.abs(vector), places)
    assert len(places) == max(1, round(fraction * vector.size))
    assert np.all(np.diff(places.astype(np.int64)) > 0)
    assert left.size == 0 or np.abs(vector[places]).min() >= left.max()
    found = decompress(how, data, vector.size)
    assert not np.delete(found, places).any()
    largest = float(np.abs(vector).max())
    assert np.abs(found[places] - vector[places]).max() <= largest / 32767 * 1.000001 + 3e-45


def test_of_equal_values_the_first_are_sent() -> None:
    data = compress(TopK(name="top_k", fraction=0.3), np.ones(10, np.float32), Rounding(0))
    assert np.frombuffer(data, "<u4", 3).tolist() == [0, 1, 2]


@pytest.mark.parametrize("how", [EIGHT, SIXTEEN, TENTH], ids=lambda how: how.name)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_never_turned_into_numbers(how: Compression, bad: float) -> None:
    values = normal(3000)
    values[1234] = bad
    with pytest.raises(TrainingError, match="not finite"):
        compress(how, values, Rounding(0))


# ------------------------------------------------------------------------------------------------------------------ poison


@pytest.mark.parametrize("how", ALL, ids=lambda how: how.name)
@pytest.mark.parametrize("change", [-4, -1, 1, 4])
def test_bytes_of_another_length_are_refused(how: Compression, change: int) -> None:
    data = bytes(compress(how, normal(2000), Rounding(0)))
    with pytest.raises((UpdateError, MessageError), match=r"it was not used|no whole number of float32"):
        decompress(how, data[:change] if change < 0 else data + bytes(change), 2000)


@pytest.mark.parametrize("places", [[0, 0, 2], [2, 1, 3], [0, 1, 30], [0, 1, 2**32 - 1]], ids=str)
def test_places_that_repeat_go_back_or_lie_beyond_the_model_are_refused(places: list[int]) -> None:
    how = TENTH
    data = bytearray(compress(how, normal(30), Rounding(0)))
    data[:12] = np.array(places, dtype="<u4").tobytes()
    with pytest.raises(UpdateError, match="do not ascend within the model"):
        decompress(how, bytes(data), 30)


@given(data=st.binary(min_size=n_bytes(EIGHT, 100), max_size=n_bytes(EIGHT, 100)))
def test_any_bytes_of_the_right_length_give_a_vector_of_the_right_size_without_a_warning(data: bytes) -> None:
    with np.errstate(all="raise"):
        assert decompress(EIGHT, data, 100).shape == (100,)


# ---------------------------------------------------------------------------------------------------------- error feedback


def test_what_is_held_back_is_not_lost() -> None:
    """Stich et al. 2018: with the memory all that was ever to be sent is sent but for what still waits."""
    how, rng = TENTH, np.random.default_rng(7)
    held, got, wanted, norms = np.zeros(4000, np.float32), np.zeros(4000), np.zeros(4000), []
    for number in range(200):
        update = rng.normal(0.001, 0.01, 4000).astype(np.float32)
        wanted += update
        now = update + held
        arrived = decompress(how, compress(how, now, Rounding(number)), 4000)
        held = now - arrived
        got += arrived
        norms.append(float(np.linalg.norm(held)))
    np.testing.assert_allclose(got + held, wanted, atol=1e-5)
    assert norms[-1] < 1.2 * norms[len(norms) // 2]  # what waits does not pile up
    without = sum(
        decompress(how, compress(how, rng.normal(0.001, 0.01, 4000).astype(np.float32), Rounding(n)), 4000) for n in range(200)
    )
    assert math.dist(got, wanted) < 0.7 * math.dist(without, wanted)
