"""Each strategy against an oracle, and a conformance suite all of them pass."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from aggregator.mean import WeightedMean
from aggregator.strategies import build_strategy
from protocol.errors import UpdateError
from protocol.plan.federation import Adaptive, Average, Federation, Momentum
from protocol.vectors import Vector

ALL = [
    {"name": "FedAvg"},
    {"name": "FedProx", "lr": 0.5},
    {"name": "FedAvgM", "lr": 0.7, "momentum": 0.8},
    {"name": "FedAdam", "lr": 0.03, "beta1": 0.8, "beta2": 0.95, "tau": 0.01},
    {"name": "FedYogi", "lr": 0.03},
    {"name": "FedAdagrad", "lr": 0.03, "beta1": 0.0},
]
RNG = np.random.default_rng(0)
MODEL = RNG.standard_normal(50).astype(np.float32)
UPDATES = [RNG.standard_normal(50).astype(np.float32) * 0.1 for _ in range(6)]


def parse(value: dict[str, object]) -> Average | Momentum | Adaptive:
    annotation = Federation.model_fields["strategy"].rebuild_annotation()
    return TypeAdapter(annotation).validate_python(value)  # type: ignore[no-any-return]


def walk(value: dict[str, object]) -> Vector:
    strategy = build_strategy(parse(value))
    model, state = MODEL, {}
    for update in UPDATES:
        model, state = strategy(model, update, state)  # type: ignore[assignment]
    return model


@pytest.mark.parametrize("value", ALL, ids=lambda v: v["name"])
class TestEveryStrategy:
    def test_is_pure_and_repeats_to_the_bit(self, value: dict[str, object]) -> None:
        before = [array.copy() for array in (MODEL, *UPDATES)]
        first = walk(value)
        assert first.tobytes() == walk(value).tobytes()
        for array, copy in zip((MODEL, *UPDATES), before, strict=True):
            np.testing.assert_array_equal(array, copy)

    def test_stays_in_float32_and_keeps_the_shape(self, value: dict[str, object]) -> None:
        strategy = build_strategy(parse(value))
        model, state = strategy(MODEL, UPDATES[0], {})
        assert model.dtype == np.float32
        assert model.shape == MODEL.shape
        assert all(v.dtype == np.float32 and v.shape == MODEL.shape for v in state.values())

    def test_continues_from_a_stored_state_as_if_never_interrupted(self, value: dict[str, object]) -> None:
        strategy = build_strategy(parse(value))
        model, state = strategy(MODEL, UPDATES[0], {})
        stored = {key: np.frombuffer(v.tobytes(), dtype=np.float32) for key, v in state.items()}
        straight, _ = strategy(model, UPDATES[1], state)
        resumed, _ = strategy(model.copy(), UPDATES[1], stored)
        assert straight.tobytes() == resumed.tobytes()

    def test_moves_along_a_constant_update(self, value: dict[str, object]) -> None:
        strategy = build_strategy(parse(value))
        model: Vector = np.zeros(3, dtype=np.float32)
        state: Mapping[str, Vector] = {}
        for _ in range(5):
            model, state = strategy(model, np.array([0.1, -0.1, 0.0], dtype=np.float32), state)
        assert model[0] > 0 > model[1]
        assert model[2] == 0


def test_fedavg_with_rate_one_adds_the_mean_update_exactly() -> None:
    model, _ = build_strategy(parse({"name": "FedAvg"}))(MODEL, UPDATES[0], {})
    np.testing.assert_array_equal(model, MODEL + UPDATES[0])


def test_fedavgm_is_torch_s_momentum_on_the_negative_update() -> None:
    weights = torch.nn.Parameter(torch.from_numpy(MODEL.copy()))
    optimiser = torch.optim.SGD([weights], lr=0.7, momentum=0.8)
    for update in UPDATES:
        weights.grad = torch.from_numpy(-update)
        optimiser.step()
    np.testing.assert_allclose(walk(ALL[2]), weights.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_fedadagrad_without_momentum_is_torch_s_adagrad() -> None:
    weights = torch.nn.Parameter(torch.from_numpy(MODEL.copy()))
    optimiser = torch.optim.Adagrad([weights], lr=0.03, eps=1e-3, initial_accumulator_value=1e-6)
    for update in UPDATES:
        weights.grad = torch.from_numpy(-update)
        optimiser.step()
    np.testing.assert_allclose(walk(ALL[5]), weights.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_fedadam_is_adam_without_bias_correction() -> None:
    """Oracle: torch's Adam with its bias corrections divided out step by step (v starts at tau^2 as in the paper)."""
    beta1, beta2, lr, tau = 0.8, 0.95, 0.03, 0.01
    model, first, second = MODEL.astype(np.float64), np.zeros(50), np.full(50, tau**2)
    for update in UPDATES:
        d = update.astype(np.float64)
        first, second = beta1 * first + (1 - beta1) * d, beta2 * second + (1 - beta2) * d**2
        model = model + lr * first / (np.sqrt(second) + tau)
    np.testing.assert_allclose(walk(ALL[3]), model, rtol=1e-5, atol=1e-6)


def test_yogi_moves_its_second_moment_by_less_than_adam_when_updates_shrink() -> None:
    big, small = np.ones(4, dtype=np.float32), np.full(4, 1e-3, dtype=np.float32)
    seconds = {}
    for name in ("FedAdam", "FedYogi"):
        strategy = build_strategy(parse({"name": name, "beta2": 0.9}))
        model, state = strategy(np.zeros(4, dtype=np.float32), big, {})
        _, state = strategy(model, small, state)
        seconds[name] = state["second"][0]
    assert seconds["FedYogi"] > seconds["FedAdam"]


@given(
    weights=st.lists(st.floats(0, 1e4), min_size=1, max_size=6).filter(lambda w: sum(w) > 1e-3),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_weighted_mean_is_numpy_s(weights: list[float], seed: int) -> None:
    vectors = np.random.default_rng(seed).standard_normal((len(weights), 7)).astype(np.float32)
    mean = WeightedMean(7)
    for vector, weight in zip(vectors, weights, strict=True):
        mean.add(vector, weight)
    expected = np.average(vectors.astype(np.float64), axis=0, weights=weights)
    np.testing.assert_allclose(mean.result(), expected, rtol=1e-6, atol=1e-7)


def test_weights_that_cannot_be_used_are_refused() -> None:
    mean = WeightedMean(1)
    for weight in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UpdateError, match="weight"):
            mean.add(np.zeros(1, dtype=np.float32), weight)
    mean.add(np.ones(1, dtype=np.float32), 0.0)
    with pytest.raises(UpdateError, match="all weights are zero"):
        mean.result()
