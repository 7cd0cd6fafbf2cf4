"""Defences that would defend nobody are refused when the plan is read, with the reason and what to write instead."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from protocol.plan import parse_plan
from protocol.plan.federation import needs_single_updates
from protocol.plan.private_rules import unreadable
from tests.conftest import PRIVATE, tiny_plan

UNIFORM = {"federation.weighting": "uniform"}
KRUM = {"name": "krum", "byzantine": 1}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"federation.aggregation": {"name": "median"}, "federation.quorum": 5}, "set weighting to uniform"),
        (UNIFORM | {"federation.aggregation": {"name": "median"}, "federation.quorum": 2}, "raise quorum to 3"),
        (UNIFORM | {"federation.aggregation": KRUM, "federation.quorum": 4}, "1 among 5 silos or more, not 4"),
        (UNIFORM | {"federation.aggregation": KRUM | {"keep": 3}, "federation.quorum": 5}, "vouch for 2, not 3"),
        (UNIFORM | {"federation.aggregation": {"name": "trimmed_mean", "trim": 0.1}, "federation.quorum": 9}, "cuts none"),
        (UNIFORM | {"federation.aggregation": {"name": "trimmed_mean", "trim": 0.5}, "federation.quorum": 9}, "less than 0.5"),
        (UNIFORM | {"federation.aggregation": {"name": "bulyan"}}, "'krum'"),
        ({"federation.norm_bound": 0.0}, "greater than 0"),
        ({"federation.guard": {"max_norm_ratio": 1.0}}, "greater than 1"),
        ({"federation.guard": {"max_validation_drop": 0.1}, "evaluation.every": 3}, "nothing to compare"),
        ({"federation.guard": {"max_validation_drop": 0.1}, "federation.personal": ["head"]}, "cannot go back"),
    ],
)
def test_a_defence_that_would_not_defend_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        tiny_plan(**changes)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "aggregation",
    [{"name": "median"}, {"name": "trimmed_mean", "trim": 0.2}, KRUM | {"keep": 2}, {"name": "krum", "byzantine": 1}],
)
def test_robust_aggregation_is_allowed_where_single_updates_may_be_read(aggregation: dict[str, Any]) -> None:
    changes = {"federation.aggregation": aggregation, "federation.quorum": 5}
    assert tiny_plan(**UNIFORM, **changes).federation.aggregation.name == aggregation["name"]
    assert tiny_plan(**(PRIVATE | changes)).federation.aggregation.name == aggregation["name"]


def test_what_needs_single_updates_is_named_and_refused_under_secure_aggregation() -> None:
    both = tiny_plan(
        **UNIFORM, **{"federation.aggregation": {"name": "median"}, "federation.quorum": 3, "federation.norm_bound": 1.0}
    ).federation
    assert needs_single_updates(both) == ["federation.aggregation", "federation.norm_bound"]
    assert [text.split()[0] for text in unreadable(both, secure=True)] == needs_single_updates(both)
    assert unreadable(both, secure=False) == []
    guarded = tiny_plan(**{"federation.guard": {"max_norm_ratio": 5.0, "max_validation_drop": 0.1}}).federation
    assert needs_single_updates(guarded) == unreadable(guarded, secure=True) == []


def test_the_plan_s_text_survives_with_every_defence_in_it() -> None:
    changes = {"federation.aggregation": KRUM, "federation.quorum": 5, "federation.guard": {"max_norm_ratio": 4.0}}
    plan = tiny_plan(**UNIFORM, **changes)
    assert parse_plan(plan.canonical.decode()).digest == plan.digest
