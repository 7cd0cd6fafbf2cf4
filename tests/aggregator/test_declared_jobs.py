"""Whole jobs with weights that stand in the plan."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregator.job import Job
from protocol.errors import PlanError
from protocol.messages import Describe, Refusal, decode_release, encode
from protocol.transport.in_process import InProcessTransport
from tests.aggregator.test_secure_rounds import make, run
from tests.conftest import PRIVATE, tiny_node, tiny_plan, tiny_store

WEIGHTS = {"s0": 300.0, "s1": 150.0, "s2": 120, "s3": 30}
DECLARED: dict[str, Any] = {
    "evaluation": {"alone": False},
    "federation.weighting": "declared",
    "federation.declared_weights": WEIGHTS,
    "federation.rounds": 1,
}


def test_readable_and_masked_updates_give_the_same_weighted_model_and_no_other(tmp_path: Path) -> None:
    models = {}
    for name, secure, changes in (
        ("plain", False, {}),
        ("masked", True, {}),
        ("equal", False, {"federation.weighting": "uniform", "federation.declared_weights": None}),
    ):
        plan = tiny_plan(**(DECLARED | changes), privacy={"mechanism": "none", "secure_aggregation": secure})
        job, _ = make(plan, tmp_path / name)
        models[name] = run(job)
    assert np.abs(models["plain"] - models["masked"]).max() < 2e-5
    assert np.abs(models["plain"] - models["equal"]).max() > 1e-3


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("private", [False, True])
def test_the_record_shows_the_declared_weights(private: bool, secure: bool, tmp_path: Path) -> None:
    privacy = PRIVATE["privacy"] if private else {"mechanism": "none"}
    changes = (PRIVATE if private else {}) | DECLARED | {"privacy": privacy | {"secure_aggregation": secure}}
    job, _ = make(tiny_plan(**changes), tmp_path)
    with closing(job.journal):
        job.run()
        assert job.rounds()[0].weights == WEIGHTS


def test_a_job_whose_plan_weighs_other_hospitals_does_not_open(tmp_path: Path) -> None:
    plan = tiny_plan(**DECLARED | {"federation.declared_weights": {"s0": 1, "s1": 1, "elsewhere": 1}})
    with pytest.raises(PlanError, match=r"no number for s2, s3; it names elsewhere"):
        make(plan, tmp_path)


def test_a_hospital_refuses_a_plan_that_declares_nothing_for_it(tmp_path: Path) -> None:
    plan = tiny_plan(**DECLARED, privacy={"mechanism": "none", "secure_aggregation": False})
    node = tiny_node("elsewhere", tiny_store(tmp_path / "store"), tmp_path / "state")
    job = Job(plan, InProcessTransport(dict.fromkeys(WEIGHTS, node)), tmp_path / "job", lambda _: None)
    with closing(job.journal):
        answer = decode_release(node(encode(Describe(job._desk.address(0), plan.canonical))))
    assert isinstance(answer, Refusal)
    assert (answer.error, "no number for elsewhere" in answer.reason) == ("PlanError", True)


def test_fedward_run_refuses_before_anything_is_written(tmp_path: Path) -> None:
    from fedward.federation import run_federation
    from fedward.settings import Settings

    plan = tiny_plan(**DECLARED | {"federation.declared_weights": {"s0": 1, "s1": 1}})
    stores = {name: tiny_store(tmp_path / name, seed=seed).path for seed, name in enumerate(("s0", "s1", "s2"))}
    with pytest.raises(PlanError, match=r"no number for s2\. Give each of s0, s1, s2 one number"):
        run_federation(plan, stores, Settings(tmp_path / "out"), lambda _: None)
    assert not (tmp_path / "out").exists()
