"""Two jobs of which the second scores the first one's model too: what leaves, what the report says, what an auditor finds."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregator.job import Job
from aggregator.results import Written, write_results
from evaluation.delong import paired_delong
from evaluation.report.compare import compare_reports
from evaluation.verify.run import verify
from protocol.errors import WeightsError
from protocol.evidence import bundle as names
from protocol.evidence.keys import read_keys
from protocol.weights import add_weights
from silo_node.answers import load_federated
from silo_node.governance.words import plain_words
from silo_node.node import SiloNode
from silo_node.scoring import log_probabilities
from tests.aggregator.audited_hospitals import SILOS, audited, audited_plan, hospitals

SMALL = {"attributes": ["sex"], "intersections": [], "smallest_cell": 1}


@pytest.fixture(autouse=True)
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDWARD_WEIGHTS", str(tmp_path / "weights"))


def finished(folder: Path, nodes: dict[str, SiloNode], out: Path, **how: Any) -> tuple[Job, Written]:
    job, _ = audited(audited_plan(**how), folder, nodes)
    with closing(job.journal):
        job.run()
        job.final = job.models.final()  # type: ignore[attr-defined]
        out.mkdir()
        return job, write_results(job, out, one_machine=True)


def scored(job: Job, nodes: dict[str, SiloNode]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(labels, log-odds, patients) of everybody's test rows under the job's final model."""
    labels, odds, patients = [], [], []
    for number, site in enumerate(SILOS):
        own = nodes[site]._jobs[job.name]
        part = list(own.cohort.parts.test)
        load_federated(own, job.plan.federation.rounds, job.final)  # type: ignore[attr-defined]
        rows = log_probabilities(own.model, own.cohort, "test")
        labels.append(own.cohort.labels[part])
        odds.append(rows[:, 1] - rows[:, 0])
        patients.append(own.cohort.patients[part] + 1000 * number)
    return np.concatenate(labels), np.concatenate(odds), np.concatenate(patients)


@pytest.mark.parametrize(
    "how", [{}, {"secure": True}, {"secure": True, "scores": "summed"}], ids=["open", "secure", "secure and summed"]
)
def test_a_second_job_is_paired_with_the_first_through_the_whole_federation(how: dict[str, Any], tmp_path: Path) -> None:
    nodes = hospitals(tmp_path)
    first, a = finished(tmp_path / "a", nodes, tmp_path / "out-a", audit=SMALL, **how)
    digest = add_weights(a.model)
    second, b = finished(
        tmp_path / "b", nodes, tmp_path / "out-b", audit=SMALL | {"compare_with": digest}, **how, **{"federation.rounds": 4}
    )
    reports = [json.loads(one.report_json.read_text()) for one in (a, b)]
    versus = reports[1]["audit"]["versus_baseline"]
    assert versus["weights"] == digest
    assert reports[1]["model"]["compared_with"] == reports[0]["model"]["digest"]
    # The values are those of all rows in one place, but for the bins.
    labels, old, _ = scored(first, nodes)
    again, new, patients = scored(second, nodes)
    np.testing.assert_array_equal(labels, again)
    exact = paired_delong((labels == 1).astype(int), new, old, patients)
    assert exact is not None
    everyone = versus["classes"][0]["groups"][0]
    assert everyone["baseline"]["auroc"]["value"] == pytest.approx(exact[1], abs=0.02)
    assert everyone["auroc"]["value"] == pytest.approx(exact[0] - exact[1], abs=0.03)
    assert {group["attribute"] for group in versus["classes"][0]["groups"]} >= {"all", "sex"}
    assert any(group["attribute"] == "site" for group in versus["classes"][0]["groups"]) is (how.get("scores") != "summed")
    # Both directions, and only where the digests say so.
    found, turned = compare_reports(*reports), compare_reports(*reversed(reports))
    assert (found["paired"], turned["paired"], found["same_job"]) == ("b", "a", False)
    assert compare_reports(reports[0], reports[0])["paired"] is None
    one, other = (next(row for row in each["figures"] if row["attribute"] == "all") for each in (found, turned))
    assert one["difference"]["value"] == pytest.approx(everyone["auroc"]["value"])
    assert other["difference"]["lo"] == pytest.approx(-one["difference"]["hi"])


def test_the_auditor_makes_the_paired_figures_again_from_the_masked_sum(tmp_path: Path) -> None:
    nodes = hospitals(tmp_path)
    _, a = finished(tmp_path / "a", nodes, tmp_path / "out-a", audit=SMALL, secure=True)
    compared = SMALL | {"compare_with": add_weights(a.model)}
    _, b = finished(tmp_path / "b", nodes, tmp_path / "out-b", audit=compared, secure=True)
    assert b.evidence is not None
    keys = read_keys(b.evidence / names.KEYS)
    found = verify(b.evidence, keys, b.report_json)
    assert found.sound
    assert [one.state for one in found.found if one.check == "compared with"] == ["ok"]
    report = json.loads(b.report_json.read_text())
    report["audit"]["versus_baseline"]["classes"][0]["groups"][0]["baseline"]["auroc"]["value"] += 0.05
    b.report_json.write_text(json.dumps(report))
    broken = [one for one in verify(b.evidence, keys, b.report_json).found if one.state == "broken"]
    assert any("versus_baseline" in one.what for one in broken)


def test_an_auditor_hears_whether_the_report_names_the_right_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = hospitals(tmp_path)
    _, a = finished(tmp_path / "a", nodes, tmp_path / "out-a", audit=SMALL)
    _, b = finished(tmp_path / "b", nodes, tmp_path / "out-b", audit=SMALL | {"compare_with": add_weights(a.model)})
    assert b.evidence is not None
    keys = read_keys(b.evidence / names.KEYS)
    report = json.loads(b.report_json.read_text())
    report["model"]["compared_with"] = "sha256:" + "7" * 64  # as another job's report may have it
    b.report_json.write_text(json.dumps(report))

    def said() -> list[str]:
        return [one.state for one in verify(b.evidence, keys, b.report_json).found if one.check == "compared with"]  # type: ignore[arg-type]

    assert said() == ["broken"]
    monkeypatch.setenv("FEDWARD_WEIGHTS", str(tmp_path / "none"))  # an auditor who has no such file
    assert said() == ["unchecked"]


def test_the_officer_is_told_of_a_second_model() -> None:
    digest = "sha256:" + "ab" * 32
    (line,) = [
        one for one in plain_words(audited_plan(audit={"compare_with": digest})) if one.question == "Which figures leave?"
    ]
    assert "A second model, the file sha256:abababababab, is scored on the same images" in line.answer
    assert "second model" not in str(plain_words(audited_plan()))


def test_a_model_that_is_nowhere_is_said_before_anybody_trains(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"compare_with: no file sha256:0.*fedward weights add"):
        audited(audited_plan(audit={"compare_with": "sha256:" + "0" * 64}), tmp_path, hospitals(tmp_path))


def test_a_model_of_another_network_is_refused_by_name(tmp_path: Path) -> None:
    nodes = hospitals(tmp_path)
    _, a = finished(tmp_path / "a", nodes, tmp_path / "out-a", audit=SMALL)
    wider = {"name": "Classifier", "args": {"in_shape": [1, 16, 16], "classes": 2, "channels": [8], "strides": [2]}}
    plan = audited_plan(audit={"compare_with": add_weights(a.model)}, network=wider)
    with pytest.raises(WeightsError, match=r"another network.*Only two models of one network can be paired"):
        audited(plan, tmp_path / "b", nodes)
