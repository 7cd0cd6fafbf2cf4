"""The test's scores carry what a paired comparison needs, through the journal to the report."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aggregator.job import Job
from aggregator.records import ScoresRecord
from aggregator.summary import summarise
from evaluation.report.build import build_report
from protocol.plan import Plan
from protocol.transport.in_process import InProcessTransport
from tests.conftest import tiny_node, tiny_plan, tiny_store

MODEL = {"digest": "sha256:00", "network": "Classifier"}


def finished(plan: Plan, tmp_path: Path) -> tuple[list[ScoresRecord], dict[str, Any]]:
    """The scores and the report of `plan` over two silos."""
    nodes = {
        name: tiny_node(name, tiny_store(tmp_path / "stores" / name, n=120, seed=seed), tmp_path / name)
        for seed, name in enumerate("ab")
    }
    job = Job(plan, InProcessTransport(nodes), tmp_path / "job", lambda _: None)
    with closing(job.journal):
        job.run()
        return job.scores(), build_report(summarise(job, MODEL))


def covariances(record: ScoresRecord) -> list[float | None]:
    return [one.covariance_with_alone for scores in record.scores.values() for one in scores.classes]


def test_only_the_test_of_the_other_two_models_is_paired_with_the_model_alone(tmp_path: Path) -> None:
    records, report = finished(tiny_plan(**{"evaluation.personalise": "fine_tune"}), tmp_path)
    paired = {(one.kind, one.split): None not in covariances(one) for one in records}
    assert paired == {
        ("federated", "validation"): False,
        ("federated", "test"): True,
        ("alone", "test"): False,
        ("personalised", "test"): True,
    }
    assert not any(any(covariances(one)) for one in records if one.split == "validation" or one.kind == "alone")
    for site in report["sites"]:
        assert site["versus_alone"]["federated"]["verdict"] != "not_estimable"


def test_without_models_alone_nothing_is_paired(tmp_path: Path) -> None:
    records, report = finished(tiny_plan(**{"evaluation.alone": False}), tmp_path)
    assert not any(any(covariances(one)) for one in records)
    assert all(site["versus_alone"] is None for site in report["sites"])


def test_with_personal_parts_the_personalised_model_is_the_federated_one_and_so_is_its_difference(tmp_path: Path) -> None:
    _, report = finished(tiny_plan(**{"federation.personal": ["head"]}), tmp_path)
    for site in report["sites"]:
        assert site["personalised"] == site["auroc"]
        assert site["versus_alone"]["personalised"] == site["versus_alone"]["federated"]


@pytest.mark.parametrize("codec", [msgspec.json, msgspec.msgpack])
def test_scores_remembered_by_the_first_release_can_still_be_read(codec: Any) -> None:
    address = {"job": "j", "plan_digest": "sha256:00", "round": 3, "attempt": 0}
    one = {"n_positive": 1, "n_negative": 2, "auroc": 0.5, "auroc_variance": 0.1}
    one |= {"histogram_positive": [1], "histogram_negative": [2]}
    scores = {"type": "scores", "address": address, "kind": "federated", "split": "test", "n": 3, "loss": 0.1, "accuracy": 0.5}
    record = {"round": 3, "kind": "federated", "split": "test", "at": 1.0, "failures": {}}
    record["scores"] = {"a": scores | {"classes": [one]}}
    found = codec.decode(codec.encode(record), type=ScoresRecord)
    assert covariances(found) == [None]
