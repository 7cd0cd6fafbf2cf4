"""What a hospital's policy says to a plan that it does not allow."""

from __future__ import annotations

import pytest

from privacy.guarantee import guarantee_of
from protocol.errors import PolicyError
from silo_node.policy import Policy
from tests.conftest import PRIVATE, tiny_plan


def objections(policy: Policy) -> list[str]:
    plan = tiny_plan(**PRIVATE)
    with pytest.raises(PolicyError) as caught:
        policy.admit(plan, guarantee_of(plan))
    return str(caught.value).splitlines()


def test_every_objection_is_named_in_a_line_of_its_own() -> None:
    lines = objections(Policy(mechanisms=("distributed",), max_delta=1e-9, max_epsilon_per_study=0.5))
    assert len(lines) == 3
    for line, says in zip(lines, ("privacy.mechanism local", "max_delta 1e-09", "max_epsilon_per_study is 0.5"), strict=True):
        assert says in line


def test_what_is_allowed_is_not_named() -> None:
    lines = objections(Policy(max_delta=1e-9, max_epsilon_per_study=1000.0))
    assert len(lines) == 1
    assert "max_delta" in lines[0]


def test_a_plan_within_all_limits_is_admitted() -> None:
    plan = tiny_plan(**PRIVATE)
    Policy(max_epsilon_per_study=1000.0).admit(plan, guarantee_of(plan))
