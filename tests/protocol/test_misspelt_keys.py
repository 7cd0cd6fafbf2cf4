"""A key that a plan does not have: the one that was meant is named, if one of the same part is like it."""

from __future__ import annotations

import json
import time

import pytest

from protocol.errors import PlanError
from protocol.plan import parse_plan, plan_template
from protocol.plan.load import parse_canonical, parse_part
from silo_node.policy import Policy


def said_of(old: str, new: str) -> str:
    """What is said of the template with one line changed: that line's error."""
    template = plan_template()
    assert old in template
    with pytest.raises(PlanError) as caught:
        parse_plan(template.replace(old, new, 1))
    return next(line for line in str(caught.value).splitlines() if "is not a key" in line)


@pytest.mark.parametrize(
    ("old", "new", "key", "meant"),
    [
        ("quorum: 3", "quorom: 3", "federation.quorom", "quorum"),
        ("name: Classifier", "nmae: Classifier", "network.nmae", "name"),
        ("\nseed: ", "\nsed: ", "sed", "seed"),
        ("\nschema: ", "\nscheme: ", "scheme", "schema"),  # the key as it is written, not as the model calls it
        ("lr: 0.5", "lr: 0.5\n    momentun: 0.9", "training.optimizer.momentun", "momentum"),  # inside a union
        ("clip_norm: ", "clip_nrom: ", "privacy.clip_nrom", "clip_norm"),
    ],
)
def test_the_key_that_was_meant_is_named(old: str, new: str, key: str, meant: str) -> None:
    said = said_of(old, new)
    assert f": {key}: is not a key fedward knows; did you mean `{meant}`?" in said


def test_a_key_like_no_other_gets_no_suggestion() -> None:
    said = said_of("quorum: 3", "quorum: 3\n  zzz: 1")
    assert said.endswith("federation.zzz: is not a key fedward knows (docs/plan.md lists them all)")


def test_only_keys_of_the_part_that_stands_there_are_suggested() -> None:
    """`spare_rounds` is a key of mechanism distributed alone."""
    assert 'mechanism: "local"' in plan_template()
    local = said_of("clip_norm: ", "spare_round: 1\n  clip_norm: ")
    assert "spare_rounds" not in local
    text = plan_template().replace('mechanism: "local"', 'mechanism: "distributed"', 1)
    with pytest.raises(PlanError, match="did you mean `spare_rounds`"):
        parse_plan(text.replace("clip_norm: ", "spare_round: 1\n  clip_norm: ", 1))


def test_a_key_in_a_list_is_compared_with_those_of_its_element() -> None:
    value = json.loads(parse_plan(plan_template()).model_dump_json(by_alias=True))
    value["data"]["preprocessing"][0]["arg"] = {}
    with pytest.raises(PlanError, match=r"preprocessing\[0\]\.arg: .*did you mean `args`"):
        parse_plan(json.dumps(value))
    with pytest.raises(PlanError, match="did you mean `args`"):
        parse_canonical(json.dumps(value).encode())


def test_other_files_of_a_hospital_get_suggestions_from_their_own_keys() -> None:
    with pytest.raises(PlanError, match="did you mean `max_delta`"):
        parse_part("max_dleta: 1.0e-6", Policy, name="policy", advice="")


def test_a_huge_key_from_the_network_costs_little() -> None:
    start = time.monotonic()
    with pytest.raises(PlanError):
        parse_canonical(json.dumps({"a" * 900_000: 1}).encode())
    assert time.monotonic() - start < 5.0
