"""Weights that stand in the plan: what is refused, who must be named, and what they come to on both sides."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from privacy.secure_aggregation.payload import mean_of, payload, payload_size
from privacy.secure_aggregation.sizing import sizing
from protocol.errors import PlanError
from protocol.plan import parse_plan
from protocol.plan.federation import declared_share, refuse_unnamed
from tests.conftest import PRIVATE, tiny_plan

DECLARED: dict[str, Any] = {"federation.weighting": "declared", "federation.declared_weights": {"a": 400, "b": 100.5, "c": 1}}
DISTRIBUTED: dict[str, Any] = PRIVATE | {
    "privacy": PRIVATE["privacy"] | {"mechanism": "distributed", "secure_aggregation": True},
    "training": {"mu": 0.0, "local_steps": 1, "batch_size": 8, "optimizer": {"name": "SGD", "lr": 0.05}},
}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"federation.weighting": "declared"}, "0 hospitals, the quorum is 2"),
        ({"federation.weighting": "declared", "federation.declared_weights": {"a": 1}}, "1 hospitals, the quorum is 2"),
        ({"federation.declared_weights": {"a": 1, "b": 1}}, "weighting samples takes none"),
        (DECLARED | {"federation.declared_weights": {"a": 0, "b": 1}}, "greater than 0"),
        (DECLARED | {"federation.declared_weights": {"a": -1, "b": 1}}, "greater than 0"),
        (DECLARED | {"federation.declared_weights": {"a": "many", "b": 1}}, "valid number"),
        (DECLARED | {"federation.declared_weights": {"a": 1, "b": 2e6}}, "a million times"),
        (DECLARED | {"federation.aggregation": {"name": "median"}, "federation.quorum": 3}, "set weighting to uniform"),
        (DISTRIBUTED | DECLARED, "sized for equal weights"),
    ],
)
def test_weights_that_cannot_be_used_are_refused_with_the_reason(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        tiny_plan(**changes)
    assert says in str(caught.value)


def test_a_distributed_plan_is_refused_for_its_weights_alone() -> None:
    assert tiny_plan(**DISTRIBUTED).federation.weighting == "uniform"


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("private", [False, True])
def test_public_weights_are_allowed_with_and_without_noise_and_secure_aggregation(private: bool, secure: bool) -> None:
    privacy = PRIVATE["privacy"] if private else {"mechanism": "none"}
    plan = tiny_plan(**((PRIVATE if private else {}) | DECLARED | {"privacy": privacy | {"secure_aggregation": secure}}))
    assert parse_plan(plan.canonical.decode()).digest == plan.digest


def test_the_wrong_number_is_named_with_its_line() -> None:
    text = tiny_plan(**DECLARED).canonical.decode().replace('"b":100.5', '\n"b":-3')
    with pytest.raises(PlanError, match=r"plan:2: federation.declared_weights.b: "):
        parse_plan(text)


def test_every_hospital_must_have_a_number_and_no_other_may() -> None:
    federation = tiny_plan(**DECLARED).federation
    refuse_unnamed(federation, ("c", "a", "b"))
    refuse_unnamed(tiny_plan().federation, ("anyone",))
    with pytest.raises(PlanError, match=r"no number for d.* names b, c, not in this federation"):
        refuse_unnamed(federation, ("a", "d"))
    with pytest.raises(PlanError, match="no number for d"):
        declared_share(federation, "d")


def test_the_masked_sum_gives_the_mean_by_public_weights_of_those_who_stayed() -> None:
    plan = tiny_plan(**DECLARED, privacy={"mechanism": "none", "secure_aggregation": True})
    wanted, rng = sizing(plan, 3), np.random.default_rng(2)
    updates = {name: rng.normal(0.0, 0.1, 300).astype(np.float32) for name in "abc"}
    assert payload_size(plan, 300) == 300  # public weights take no room
    assert {name: declared_share(plan.federation, name) for name in "ab"} == {"a": 1.0, "b": np.float32(100.5 / 400)}
    weights = {"a": 400.0, "b": 100.5, "c": 1.0}
    for stayed in (("a", "b", "c"), ("b", "c")):
        sent = [payload(plan, wanted, updates[name], 0, name, 1).view("<i4") for name in stayed]
        mean, shown = mean_of(plan, np.sum(sent, axis=0, dtype=np.int32), stayed, 3, 1.0)
        assert shown == {name: weights[name] for name in stayed}
        expected = np.average([updates[name] for name in stayed], axis=0, weights=[weights[name] for name in stayed])
        # A silo's step is divided by the weights of those who stayed: with the largest away the grid is that much coarser.
        np.testing.assert_allclose(mean, expected, atol=3 * 2.0**-wanted.scale_bits * 400 / sum(weights[n] for n in stayed))
