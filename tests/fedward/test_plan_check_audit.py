"""What `fedward plan check` says of an audit before anything runs: whom it counts, how much leaves, what it costs."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from evaluation.audit.layout import layout_of
from fedward.audited import audit_facts, print_audit
from tests.aggregator.audited_hospitals import audited_plan
from tests.conftest import tiny_plan


@pytest.mark.parametrize(
    ("how", "sites", "leaves"),
    [({}, 2, "readable"), ({"secure": True}, 3, "masked"), ({"secure": True, "scores": "summed"}, 0, "masked")],
    ids=str,
)
def test_the_groups_and_numbers_are_those_of_the_layout(how: dict[str, Any], sites: int, leaves: str) -> None:
    plan = audited_plan(**how)
    facts = audit_facts(plan)
    assert facts is not None
    layout = layout_of(plan, tuple(f"h{number}" for number in range(facts["hospitals"])))
    assert facts["numbers"] == layout.size
    assert sum(facts["groups"].values()) == len(layout.groups)
    assert facts["groups"].get("site", 0) == sites
    assert facts["groups"]["sex × age"] == 4 * 4
    assert (facts["leaves"], facts["epsilon"], facts["noise_scale"]) == (leaves, None, None)


def test_the_price_and_the_noise_of_a_private_audit_are_said() -> None:
    facts = audit_facts(audited_plan(private=True))
    assert facts is not None
    assert (facts["epsilon"], facts["noise_scale"]) == (2.0, 6 / 2.0)
    console = Console(file=io.StringIO(), width=300)
    print_audit(console, facts)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "costs a test patient epsilon 2" in said
    assert "noise of scale 3" in said
    assert "sex (4), age (4), manufacturer (3), sex × age (16)" in said


def test_a_plan_without_an_audit_says_nothing_of_one() -> None:
    console = Console(file=io.StringIO())
    print_audit(console, audit_facts(tiny_plan()))
    assert console.file.getvalue() == ""  # type: ignore[attr-defined]
