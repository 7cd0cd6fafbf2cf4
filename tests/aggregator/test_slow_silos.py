"""A slow hospital is in the mean with the steps it had time for, instead of late; the record and the report say so."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from aggregator.job import Job
from aggregator.results import write_results
from protocol.plan import Plan
from protocol.secure_aggregation import Member
from protocol.transport.in_process import InProcessTransport
from silo_node.training import local
from tests.conftest import PRIVATE, tiny_node, tiny_plan, tiny_store

NAMES = ("s0", "s1", "slow")


@pytest.fixture
def slow_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every batch of the slow silo takes a while."""
    right = local.Trainer._load

    def load(self: local.Trainer, batch: Any) -> Any:
        if self._site == "slow":
            time.sleep(0.15)
        return right(self, batch)

    monkeypatch.setattr(local.Trainer, "_load", load)


@contextmanager
def job(plan: Plan, folder: Path) -> Iterator[Job]:
    nodes = {name: tiny_node(name, tiny_store(folder / name / "store", seed=i), folder / name) for i, name in enumerate(NAMES)}
    members = [Member(name, node.public_key) for name, node in nodes.items()]
    for node in nodes.values():
        node.pin(members)
    with closing(InProcessTransport(nodes)) as transport:
        made = Job(plan, transport, folder / "job", lambda _: None, {}, members)
        with closing(made.journal):
            made.run()
            yield made


def plan(**changes: Any) -> Plan:
    slow = {"training.local_steps": 40, "training.max_seconds": 1.0, "federation.rounds": 2, "evaluation": {"alone": False}}
    return tiny_plan(**{**slow, **changes})


@pytest.mark.usefixtures("slow_steps")
@pytest.mark.parametrize("privacy", [{"mechanism": "none", "secure_aggregation": False}, {"mechanism": "none"}])
def test_the_slow_one_is_aggregated_with_less_work_and_everybody_can_read_that(privacy: dict[str, Any], tmp_path: Path) -> None:
    with job(plan(privacy=privacy), tmp_path) as done:
        written = write_results(done, tmp_path)
        for record in done.rounds():
            assert record.aggregated == NAMES
            assert record.failures == {}
            assert 0.0 < record.work["slow"] < 0.3
            assert record.work["s0"] == record.work["s1"] == 1.0
    report = json.loads(written.report_json.read_bytes())
    assert all(entry["work"]["slow"] < 0.3 for entry in report["rounds"])
    page = written.report_html.read_text(encoding="utf-8")
    assert "Slow hospitals" in page
    assert "<strong>slow</strong>: in 2 of 2 rounds" in page


def test_with_time_enough_nobody_is_slow_and_the_model_is_the_same_as_without_a_limit(tmp_path: Path) -> None:
    few = {"training.local_steps": 3}
    with job(plan(**few, **{"training.max_seconds": 3600.0}), tmp_path / "a") as limited:
        vector = limited.models.final()
        assert "Slow hospitals" not in write_results(limited, tmp_path / "a").report_html.read_text(encoding="utf-8")
    with job(plan(**few, **{"training.max_seconds": None}), tmp_path / "b") as free:
        np.testing.assert_array_equal(vector, free.models.final())


@pytest.mark.usefixtures("slow_steps")
def test_one_step_is_always_done(tmp_path: Path) -> None:
    with job(plan(**{"training.max_seconds": 1e-6, "federation.rounds": 1}), tmp_path) as done:
        (record,) = done.rounds()
        assert set(record.steps.values()) == {1}
        assert record.work == dict.fromkeys(NAMES, 0.05)


def test_a_private_plan_refuses_it() -> None:
    changes: Mapping[str, Any] = {**PRIVATE, "training.max_seconds": 5.0}
    with pytest.raises(ValidationError, match=r"training\.max_seconds"):
        tiny_plan(**changes)
