"""What people see on the terminal while a private job runs, and what it says to them at the end."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from aggregator.events import JobOpened, RoundCommitted, Scored
from aggregator.records import RosterRecord, RoundRecord, ScoresRecord
from aggregator.tracking.note import note
from evaluation.report.build import build_report
from evaluation.report.finish import finished
from fedward.federation import Result
from fedward.printed import print_result, promise
from fedward.progress import Progress
from tests.conftest import PRIVATE, tiny_plan
from tests.evaluation.made_up_audit import audited_report
from tests.evaluation.made_up_runs import draw_rows, make_private_summary, make_summary, noised


def record(number: int, losses: dict[str, float]) -> RoundRecord:
    return RoundRecord(
        round=number, attempt=1, started_at=1e9, seconds=2.0, configured=("north",), trained=("north",), aggregated=("north",),
        failures={}, weights={"north": 1.0}, losses=losses, proximals=losses, steps={}, silo_seconds={}, update_norm=0.1,
        model_digest="sha256:33",
    )  # fmt: skip


def test_a_private_job_shows_epsilon_instead_of_loss(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    progress(JobOpened("job", tiny_plan(**PRIVATE), RosterRecord(("north",), {}, {}), 0))
    progress(RoundCommitted(record(1, {})))
    scores = {"north": noised(draw_rows(3, 900, 1.2), 1, 1.0, "federated", "validation")}
    progress(Scored(ScoresRecord(1, "federated", "validation", 1e9, scores, {})))
    said = capsys.readouterr().err
    assert "round 1: 1 of 1 silos, epsilon " in said
    assert "loss" not in said
    progress.console.print(progress._draw())
    drawn = capsys.readouterr().err
    assert "epsilon spent" in drawn
    assert "AUROC (val)" in drawn
    assert "loss" not in drawn


def test_a_job_without_a_mechanism_shows_its_loss_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    progress(JobOpened("job", tiny_plan(), RosterRecord(("north",), {}, {}), 0))
    progress(RoundCommitted(record(1, {"north": 0.5})))
    assert "mean loss 0.5000" in capsys.readouterr().err


def printed(report: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> str:
    where = Path("report.html")
    result = SimpleNamespace(report=report, report_html=where, model=where, tracking_problem="", tracking_uri="http://mlflow")
    print_result(cast(Result, result))
    return capsys.readouterr().err


def test_the_last_words_are_the_promise(capsys: pytest.CaptureFixture[str]) -> None:
    private = printed(build_report(make_private_summary({"a": 900}, n_rounds=1)), capsys)
    assert "privacy  epsilon 8 at delta 1e-06 for each patient" in private
    assert "alone" not in private
    assert "None" not in private
    without = printed(build_report(make_summary({"a": 90}, n_rounds=1)), capsys)
    assert "privacy  epsilon: infinite" in without
    assert "alone" in without


def test_unequal_service_and_how_to_check_the_evidence_are_said_too(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = finished(audited_report(n_rounds=1, verdict="fail"))
    monkeypatch.chdir(tmp_path)
    without = printed(report, capsys)
    assert "fairness ✗ finding: AUROC of pneumonia by sex differs by 0.082" in without
    assert "audit verify" not in without
    (tmp_path / "evidence").mkdir()
    assert "evidence fedward audit verify evidence --keys KEYS" in printed(report, capsys)
    (tmp_path / "evidence" / "site-keys.json").write_text("{}")
    assert f"--keys {Path('evidence', 'site-keys.json')}" in printed(report, capsys)
    fair = printed(finished(audited_report(n_rounds=1, verdict="pass")), capsys)
    assert "fairness ✓ pass: " in fair
    assert "finding" not in fair


@pytest.mark.parametrize(("epsilon", "style"), [(8.0, "bold"), (9.0, "bold yellow")])
def test_a_weak_promise_is_yellow(epsilon: float, style: str) -> None:
    privacy = build_report(make_private_summary({"a": 900}, n_rounds=1, epsilon=epsilon))["privacy"]
    assert promise(privacy).style == style


def test_no_promise_is_red() -> None:
    assert promise(build_report(make_summary({"a": 90}, n_rounds=1))["privacy"]).style == "bold red"


def test_the_note_of_a_private_run_says_its_epsilon_and_no_counts() -> None:
    text = note(build_report(make_private_summary({"a": 900, "b": 10}, n_rounds=1)))
    assert "**epsilon 8 at delta 1e-06 for each patient.**" in text
    assert "| b | – |" in text
    assert "None" not in text
    assert "`train/loss`" in note(build_report(make_summary({"a": 90}, n_rounds=1)))
