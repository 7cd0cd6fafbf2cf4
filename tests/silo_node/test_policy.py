"""What a hospital's policy says to a plan that it does not allow."""

from __future__ import annotations

from typing import Any

import pytest

from privacy.guarantee import guarantee_of
from protocol.canonical import digest_bytes
from protocol.errors import PolicyError
from protocol.plan import Plan
from silo_node.policy import Policy
from tests.conftest import PRIVATE, tiny_plan


def refusals(policy: Policy, plan: Plan) -> list[str]:
    guarantee = None if plan.privacy.mechanism == "none" else guarantee_of(plan)
    with pytest.raises(PolicyError) as caught:
        policy.admit(plan, guarantee)
    return str(caught.value).splitlines()


def objections(policy: Policy) -> list[str]:
    return refusals(policy, tiny_plan(**PRIVATE))


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


def with_program(**changes: Any) -> Plan:
    source = "from torch import nn\n\nclass Small(nn.Module):\n    pass\n"
    code = {"file": "mine.py", "sha256": digest_bytes(source.encode()), "source": source}
    return tiny_plan(**{"code": code, "network": {"name": "code.Small"}, **changes})


def test_a_plan_with_a_program_is_refused_unless_the_policy_says_that_code_may_run() -> None:
    plan = with_program(**PRIVATE)
    (line,) = refusals(Policy(max_epsilon_per_study=1000.0), plan)
    assert "custom_code: approved" in line
    assert "--accept-code" in line
    Policy(max_epsilon_per_study=1000.0, custom_code="approved").admit(plan, guarantee_of(plan))


def test_code_that_may_run_opens_nothing_else_and_the_other_way_round() -> None:
    """Without differential privacy both must be allowed, each by its own key, and both are named at once."""
    plan = with_program()
    assert len(refusals(Policy(), plan)) == 2
    (code,) = refusals(Policy(allow_without_privacy=True), plan)
    (privacy,) = refusals(Policy(custom_code="approved"), plan)
    assert ("custom_code" in code, "allow_without_privacy" in privacy) == (True, True)
    Policy(custom_code="approved", allow_without_privacy=True).admit(plan, None)


def test_a_program_is_one_objection_beside_the_others() -> None:
    lines = refusals(Policy(max_delta=1e-9, max_epsilon_per_study=1000.0), with_program(**PRIVATE))
    assert ["custom_code" in lines[0], "max_delta" in lines[1]] == [True, True]
