"""The gate lets a weight, a recalibrated test and calls at a threshold out only where the plan asks for them."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from protocol.errors import GateError
from protocol.messages import Address, Called, ClassScores, Scores, Update
from protocol.vectors import Layout, to_wire
from silo_node.release_checks import Passage, check_values
from tests.conftest import tiny_plan

LAYOUT = Layout((("weight", (3,)),))
ADDRESS = Address("job", "sha256:0", 1, 0)
UPDATE = Update(ADDRESS, to_wire(np.zeros(3, dtype=np.float32)), 10, 5, 0.5, 0.0, 3, 1.0)
ONE = ClassScores(3, 4, 0.5, 0.1, (3,), (4,))
SCORES = Scores(ADDRESS, "federated", "test", 7, 0.5, 0.5, (ONE,))
CALLED = (msgspec.structs.replace(ONE, called=Called(1, 1, 2, 2)),)
ASKING: dict[str, Any] = {
    "federation.weighting": "q_ffl",
    "federation.fairness_q": 1.0,
    "federation.weight_bound": 100,
    "evaluation": {"recalibrate": "platt", "site_threshold": {"sensitivity": 0.9}},
}


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (msgspec.structs.replace(UPDATE, weight=100), "a weight that the plan does not ask for"),
        (msgspec.structs.replace(SCORES, kind="recalibrated"), "recalibrated, which the plan does not ask for"),
        (msgspec.structs.replace(SCORES, classes=CALLED), "who is called at a threshold"),
    ],
)
def test_what_the_plan_does_not_ask_for_stays(message: Update | Scores, says: str) -> None:
    with pytest.raises(GateError, match=says):
        check_values(message, Passage("job", tiny_plan(), None, LAYOUT))
    check_values(message, Passage("job", tiny_plan(**ASKING), None, LAYOUT))


@pytest.mark.parametrize(
    "message",
    [
        msgspec.structs.replace(UPDATE, weight=101),
        msgspec.structs.replace(SCORES, classes=CALLED, split="validation"),
        msgspec.structs.replace(SCORES, classes=CALLED, kind="recalibrated"),
    ],
)
def test_a_weight_beyond_its_bound_and_calls_elsewhere_stay_even_then(message: Update | Scores) -> None:
    with pytest.raises(GateError):
        check_values(message, Passage("job", tiny_plan(**ASKING), None, LAYOUT))
