"""Whole jobs whose final test is also recalibrated at each hospital, or called from thresholds of its own."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from pydantic import ValidationError

from aggregator.job import Job
from aggregator.summary import summarise
from evaluation.measure import pooled_classes
from evaluation.report.build import build_report
from evaluation.report.schema import schema
from protocol.messages import Address, Refusal, Score, Scores, decode_release, encode
from protocol.transport.in_process import InProcessTransport
from protocol.vectors import to_wire
from tests.aggregator.test_secure_rounds import make
from tests.conftest import PRIVATE, tiny_node, tiny_plan, tiny_store

OPEN: dict[str, Any] = {
    "evaluation": {"alone": False, "recalibrate": "platt", "site_threshold": {"sensitivity": 0.9}, "every": 6},
    "federation.rounds": 6,
    "training.local_steps": 10,
    "data.split": {"test_fraction": 0.4, "validation_fraction": 0.4},
}
SUMMED = OPEN | {
    "evaluation": {"alone": False, "recalibrate": "intercept", "scores": "summed"},
    "privacy": {"mechanism": "none", "secure_aggregation": True},
}


def federation(plan: Any, folder: Path, n: int = 240) -> Job:
    """Three hospitals whose patients fall ill more and more often."""
    rates = {"a": 0.15, "b": 0.4, "c": 0.75}
    nodes = {
        name: tiny_node(name, tiny_store(folder / name, n=n, prevalence=rate, seed=i), folder / f"state-{name}")
        for i, (name, rate) in enumerate(rates.items())
    }
    return Job(plan, InProcessTransport(nodes), folder / "job", lambda _: None)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], dict[str, Any]]:
    """Records of scores and the report of one such job."""
    job = federation(tiny_plan(**OPEN), tmp_path_factory.mktemp("recalibrated"))
    with closing(job.journal):
        job.run()
        return job.scores(), build_report(summarise(job, {"digest": "sha256:0"}))


def test_recalibration_keeps_each_auroc_and_lowers_the_loss_where_prevalence_differs(finished: Any) -> None:
    test = {one.kind: one.scores for one in finished[0] if one.split == "test"}
    assert test.keys() == {"federated", "recalibrated"}
    for silo, one in test["federated"].items():
        assert test["recalibrated"][silo].classes[0].auroc == pytest.approx(one.classes[0].auroc, abs=1e-9)
    before, after = (np.mean([one.loss for one in test[kind].values()]) for kind in ("federated", "recalibrated"))
    assert after < before


def test_the_report_shows_before_and_after_and_fits_its_schema(finished: Any) -> None:
    report = finished[1]
    jsonschema.Draft202012Validator(schema()).validate(report)
    by_kind = {one["kind"]: one for one in report["mitigation"]}
    assert by_kind.keys() == {"recalibrate", "site_threshold"}
    entry = by_kind["recalibrate"]
    assert entry["settings"] == {"method": "platt"}
    assert entry["after"]["loss"] < entry["before"]["loss"]
    assert [site["id"] for site in entry["after"]["sites"]] == ["a", "b", "c"]
    off = [
        np.mean([abs(site["classes"][0]["calibration"]["intercept"]["value"]) for site in entry[side]["sites"]])
        for side in ("before", "after")
    ]
    assert off[1] < off[0]
    assert entry["before"]["auroc"] == report["performance"]["global"]["auroc"]


def test_thresholds_leave_as_counts_and_small_cells_are_not_shown(finished: Any) -> None:
    scores = {one.kind: one.scores for one in finished[0] if one.split == "test"}
    called = {silo: one.classes[0].called for silo, one in scores["federated"].items()}
    assert all(called.values())
    assert not any(one.classes[0].called for one in scores["recalibrated"].values())
    assert not any(
        one.classes[0].called for record in finished[0] if record.split == "validation" for one in record.scores.values()
    )
    (entry,) = [one for one in finished[1]["mitigation"] if one["kind"] == "site_threshold"]
    for side, own in (("before", False), ("after", True)):
        (shown,) = entry[side]["classes"]
        for site in shown["sites"]:
            one, counts = scores["federated"][site["id"]].classes[0], called[site["id"]]
            found = counts.positive_at_own if own else counts.positive_at_half
            cells = (found, one.n_positive - found)
            if site["sensitivity"]["value"] is not None:
                assert site["sensitivity"]["value"] == pytest.approx(found / one.n_positive, abs=1e-6)
                assert not any(0 < cell < 11 for cell in cells)
            elif site["sensitivity"]["why"] == "small_cell":
                assert site["sensitivity"]["status"] == "suppressed"


def test_sums_are_recalibrated_too_and_show_no_hospital(tmp_path: Path) -> None:
    job, _ = make(tiny_plan(**SUMMED), tmp_path)
    with closing(job.journal):
        job.run()
        scores = {one.kind: one for one in job.scores() if one.split == "test"}
        report = build_report(summarise(job, {"digest": "sha256:0"}))
    assert scores["recalibrated"].summed is not None
    assert scores["recalibrated"].summed.n == scores["federated"].summed.n
    (entry,) = report["mitigation"]
    assert (entry["kind"], entry["after"]["sites"], entry["after"]["loss"]) == ("recalibrate", [], None)
    assert entry["after"]["auroc"]["value"] == pytest.approx(pooled_classes([scores["recalibrated"].summed])[0].value, abs=1e-6)
    jsonschema.Draft202012Validator(schema()).validate(report)


def test_a_weighted_job_s_report_shows_every_round_s_weights(tmp_path: Path) -> None:
    weighted = {"evaluation": {"alone": False}, "federation.weighting": "worst_site", "federation.fairness_rate": 5.0}
    job = federation(tiny_plan(**weighted, **{"data.split": OPEN["data.split"]}), tmp_path)
    with closing(job.journal):
        job.run()
        report = build_report(summarise(job, {"digest": "sha256:0"}))
    (entry,) = report["mitigation"]
    assert (entry["kind"], entry["before"], entry["after"]) == ("worst_site", None, None)
    assert [row["round"] for row in entry["rounds"]] == [1, 2, 3]
    assert all(sum(row["weights"].values()) == pytest.approx(1.0, abs=2e-3) for row in entry["rounds"])
    assert set(entry["rounds"][0]["weights"].values()) == {0.333}
    assert len(set(entry["rounds"][2]["weights"].values())) > 1
    jsonschema.Draft202012Validator(schema()).validate(report)


def test_weights_that_follow_a_handful_of_images_are_not_in_the_report(tmp_path: Path) -> None:
    plan = tiny_plan(**{"evaluation": {"alone": False}, "federation.weighting": "worst_site", "federation.fairness_rate": 5.0})
    job, _ = make(plan, tmp_path)  # eight images of a hospital validate
    with closing(job.journal):
        job.run()
        report = build_report(summarise(job, {"digest": "sha256:0"}))
    (entry,) = report["mitigation"]
    assert (entry["why"], [row["weights"] for row in entry["rounds"]]) == ("small_cell", [None, None, None])
    jsonschema.Draft202012Validator(schema()).validate(report)


def test_without_the_key_nothing_is_recalibrated_and_a_silo_refuses_to(tmp_path: Path) -> None:
    job = federation(tiny_plan(evaluation={"alone": False}), tmp_path, n=40)
    with closing(job.journal):
        job._describe()
        address = Address(job.name, job.plan.digest, 3, 0)
        request = encode(Score(address, "recalibrated", "test", to_wire(job.models.initial)))
        ((_, answer),) = job._transport.exchange({"a": request}, 60.0)
        job.run()
        assert {one.kind for one in job.scores()} == {"federated"}
        assert build_report(summarise(job, {"digest": "sha256:0"}))["mitigation"] == []
    assert isinstance(answer, bytes)
    refusal = decode_release(answer)
    assert isinstance(refusal, Refusal)
    assert "foresees no such scores" in refusal.reason


def test_a_hospital_without_validation_patients_keeps_the_model_as_it_is(tmp_path: Path) -> None:
    plan = tiny_plan(**OPEN | {"data.split": {"test_fraction": 0.4, "validation_fraction": 0.0}})
    job = federation(plan, tmp_path, n=60)
    with closing(job.journal):
        job.run()
        test = {one.kind: one.scores for one in job.scores() if one.split == "test"}
    one, same = test["federated"]["b"], test["recalibrated"]["b"]
    assert isinstance(one, Scores)
    assert isinstance(same, Scores)
    assert (one.loss, one.classes) == (same.loss, same.classes)
    assert one.classes[0].called is None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            PRIVATE | {"evaluation": {"alone": False, "recalibrate": "platt"}},
            "noise covers test patients alone; set it to none",
        ),
        (
            PRIVATE | {"evaluation": {"alone": False, "site_threshold": {"sensitivity": 0.9}}},
            "a threshold is a validation patient's score",
        ),
        (SUMMED | {"evaluation.site_threshold": {"sensitivity": 0.9}}, "set evaluation.scores to per_site"),
        (OPEN | {"data.split": {"use_fold_column": False, "validation_fraction": 0.0}}, "nothing to fit it on"),
        (OPEN | {"evaluation": {"site_threshold": {"sensitivity": 1.0}}}, "less than 1"),
    ],
)
def test_a_plan_is_refused_with_the_reason(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        tiny_plan(**changes)
    assert says in str(caught.value)
