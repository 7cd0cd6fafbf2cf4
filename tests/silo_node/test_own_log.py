"""What the gate keeps back from the aggregator, the hospital can read in its own log."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from protocol.messages import Address, Describe, Refusal, Score, decode_release, encode
from protocol.service_log import JsonLines
from silo_node import private_answers
from tests.conftest import PRIVATE, MakePlan, MakeStore, tiny_node


def test_a_withheld_reason_is_in_the_silos_own_log(
    make_plan: MakePlan,
    make_store: MakeStore,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "/pacs/DOE^JANE")

    plan = make_plan(**PRIVATE)
    node = tiny_node("north", make_store(), tmp_path / "state")
    node(encode(Describe(Address("job-1", plan.digest, 0, 0), plan.canonical)))
    monkeypatch.setattr(private_answers, "score", full)
    with caplog.at_level(logging.INFO):
        reply = decode_release(node(encode(Score(Address("job-1", plan.digest, 1, 0), "federated", "test", None, False))))
    assert isinstance(reply, Refusal)
    assert "space" not in reply.reason
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records]
    (line,) = [line for line in lines if line.get("event") == "failed at a request"]
    assert (line["silo"], line["error"]) == ("north", "OSError")
    assert "No space left on device" in line["reason"]
    assert "DOE" not in json.dumps(lines)


@pytest.mark.parametrize("target", ["finding", "findings"])
def test_a_hospital_none_of_whose_images_fit_a_private_plan_reads_it_and_says_nothing_outside(
    make_plan: MakePlan, make_store: MakeStore, tmp_path: Path, caplog: pytest.LogCaptureFixture, target: str
) -> None:
    plan = make_plan(**PRIVATE, **{"task.target": target})
    node = tiny_node("north", make_store(), tmp_path / "state")
    with caplog.at_level(logging.INFO):
        reply = decode_release(node(encode(Describe(Address("job-1", plan.digest, 0, 0), plan.canonical))))
    assert not isinstance(reply, Refusal)
    events = [json.loads(JsonLines().format(record)).get("event") for record in caplog.records]
    assert ("no image of this cohort fits the plan" in events) == (target == "findings")
