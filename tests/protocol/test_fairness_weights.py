"""Weights that grow where the model serves a hospital badly: their arithmetic, and the plans that may not ask for them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from protocol.errors import TrainingError
from protocol.plan.fairness import ascend, least_share, loss_steps, shares
from protocol.plan.federation import Federation
from tests.conftest import PRIVATE, tiny_plan

Q = {"federation.weighting": "q_ffl", "federation.fairness_q": 1.0}
WORST = {"federation.weighting": "worst_site"}
DISTRIBUTED = PRIVATE | {
    "training": {"local_steps": 1, "batch_size": 8, "optimizer": {"name": "SGD", "lr": 0.1}},
    "privacy": {"mechanism": "distributed", "noise_multiplier": 2.0, "batch_patients": 5},
}


def fair(**keys: Any) -> Federation:
    return Federation(rounds=2, **keys)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"federation.weighting": "q_ffl"}, "fairness_q: weighting q_ffl needs it"),
        ({"federation.fairness_q": 1.0}, "weighting samples has no use for it"),
        (Q | {"federation.fairness_floor": 0.5}, "set weighting to worst_site"),
        (WORST | {"federation.fairness_floor": 0.0}, "greater than or equal to 0.05"),
        (Q | {"federation.aggregation": {"name": "median"}, "federation.quorum": 3}, "set weighting to uniform"),
        (WORST | {"evaluation.every": 3}, "no weight would ever move"),
        (WORST | {"data.split": {"use_fold_column": False, "validation_fraction": 0.0}}, "nobody is validated"),
        (
            WORST | {"privacy": {"mechanism": "none"}, "evaluation": {"alone": False, "scores": "summed"}},
            "a sum does not say who is worst",
        ),
        (PRIVATE | Q, "which no noise covers; set it to uniform, or under mechanism local to worst_site"),
        (PRIVATE | WORST | {"federation.fairness_measure": "loss"}, "noised scores hold no loss"),
        (DISTRIBUTED | WORST, "each hospital's share of the noise is sized for equal weights"),
    ],
)
def test_a_plan_is_refused_with_what_to_write_instead(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        tiny_plan(**changes)
    assert says in str(caught.value)


def test_under_local_noise_worst_site_is_allowed_because_it_follows_noised_scores() -> None:
    assert tiny_plan(**PRIVATE | WORST).federation.fairness_measure == "auroc"


@given(st.floats(0.0, 1e6), st.floats(0.0, 1e6), st.floats(0.0, 10.0), st.integers(1, 1_000_000))
def test_a_weight_grows_with_the_loss_and_lies_on_its_grid(one: float, two: float, q: float, bound: int) -> None:
    federation = fair(weighting="q_ffl", fairness_q=q, weight_bound=bound)
    low, high = (loss_steps(federation, loss) for loss in sorted((one, two)))
    assert 1 <= low <= high <= bound


def test_a_weight_is_the_loss_over_its_bound_to_the_power_q() -> None:
    federation = fair(weighting="q_ffl", fairness_q=2.0, fairness_loss_bound=4.0, weight_bound=10_000)
    assert [loss_steps(federation, loss) for loss in (0.0, 1.0, 2.0, 4.0, 9.0)] == [1, 625, 2500, 10_000, 10_000]
    assert loss_steps(fair(weighting="q_ffl", fairness_q=0.0), 0.3) == loss_steps(fair(weighting="q_ffl", fairness_q=0.0), 3.0)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_without_size_weighs_nothing_in_silence(loss: float) -> None:
    with pytest.raises(TrainingError, match="nothing can be weighed"):
        loss_steps(fair(weighting="q_ffl", fairness_q=1.0), loss)


silos = st.integers(2, 50).flatmap(
    lambda n: st.lists(st.lists(st.none() | st.floats(0.0, 1.0), min_size=n, max_size=n), min_size=1, max_size=8)
)


@given(silos, st.floats(0.01, 100.0), st.floats(0.05, 1.0))
def test_weights_sum_to_one_keep_the_floor_and_are_shares_a_silo_accepts(
    validations: list[list[float | None]], rate: float, floor: float
) -> None:
    federation, n = fair(weighting="worst_site", fairness_rate=rate, fairness_floor=floor), len(validations[0])
    weights = {f"s{i}": 1.0 / n for i in range(n)}
    for found in validations:
        weights = ascend(federation, weights, {f"s{i}": bad for i, bad in enumerate(found)})
        assert math.isclose(sum(weights.values()), 1.0, rel_tol=1e-9)
        assert min(weights.values()) >= floor / n * (1 - 1e-9)
        told = shares(weights)
        assert max(told.values()) == 1.0
        assert min(told.values()) >= least_share(federation, n)


def test_the_worst_gains_the_best_loses_and_the_unknown_moves_with_the_mean() -> None:
    federation = fair(weighting="worst_site", fairness_rate=2.0, fairness_floor=0.05)
    start = dict.fromkeys("abcd", 0.25)
    after = ascend(federation, start, {"a": 0.4, "b": 0.1, "c": 0.25, "d": None})
    assert after["a"] > after["c"] > after["b"]
    assert after["a"] > after["d"] > after["b"]
    assert ascend(federation, start, dict.fromkeys("abcd", None)) == start
    assert ascend(federation, start, dict.fromkeys("abcd", 0.3)) == pytest.approx(start)
