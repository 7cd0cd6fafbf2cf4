"""`fedward audit privacy` as an auditor uses it: words, exit codes, JSON and the picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fedward.cli import app
from privacy.audit import sampler_tests
from privacy.clipping import PatientSum
from protocol.errors import InputError, PrivacyError
from tests.conftest import PRIVATE, TINY, tiny_plan


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler_tests, "_DRAWS", 2000)


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.yaml"
    path.write_text(json.dumps(tiny_plan(**PRIVATE).model_dump(mode="json", by_alias=True)))
    return path


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A plan of mechanism distributed."""
    changes = {
        "privacy": PRIVATE["privacy"] | {"mechanism": "distributed", "secure_aggregation": True},
        "training": {"mu": 0.0, "local_steps": 1, "optimizer": {"name": "SGD", "lr": 0.1}},
        "federation.strategy": {"name": "FedAvg"},
    }
    path = tmp_path / "shared.yaml"
    path.write_text(json.dumps(tiny_plan(**PRIVATE | changes).model_dump(mode="json", by_alias=True)))
    return path


def audit(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["audit", "privacy", *map(str, arguments)])


def test_the_report_ends_with_what_may_be_said(plan: Path) -> None:
    done = audit(plan, "--canaries", "200")
    assert done.exit_code == 0, done.output
    assert "no violation found; lower bound" in done.stdout.splitlines()[-1]
    assert "verified" not in done.output
    for test in ("sensitivity", "noise: size", "sampling: rate", "canaries"):
        assert test in done.stdout


def test_json_is_one_object_and_alone_on_standard_output(plan: Path) -> None:
    done = audit(plan, "--canaries", "200", "--repeat", "2", "--json")
    report = json.loads(done.stdout)
    assert report["violation"] is False
    assert report["lower_bound"]["canaries"] == 400
    assert report["lower_bound"]["epsilon"] <= report["lower_bound"]["largest_possible"]
    assert report["claim"]["epsilon"] > report["lower_bound"]["epsilon"]
    assert report["plan_digest"].startswith("sha256:")
    assert all(test["suggests"] is None for test in report["tests"])


def test_few_canaries_against_a_large_claim_are_said_to_be_few(plan: Path) -> None:
    done = audit(plan, "--canaries", "100", "--json")
    report = json.loads(done.stdout)
    assert (report["claim"]["epsilon"] > report["lower_bound"]["largest_possible"]) == bool(report["notes"])
    assert report["notes"]


@pytest.mark.parametrize("writable", [True, False])
def test_a_violation_is_reported_and_then_exits_with_8(plan: Path, writable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    right = PatientSum.noised
    monkeypatch.setattr(PatientSum, "noised", lambda self, sigma, bits=None: right(self, sigma * 0.9, bits))
    picture = plan.with_name("scores.png") if writable else plan.with_name("no-folder") / "scores.png"
    done = audit(plan, "--canaries", "100", "--json", "--plot", picture)
    assert isinstance(done.exception, PrivacyError)
    assert done.exception.exit_code == 8
    report = json.loads(done.stdout)
    assert report["violation"] is True
    assert report["conclusion"].startswith("VIOLATION: noise: size: ")
    assert "a share of it is missing" in report["conclusion"]
    assert "VIOLATION" in done.stderr
    assert picture.exists() == writable


def test_without_a_mechanism_there_is_nothing_to_audit_and_that_is_no_success(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(json.dumps(TINY | {"privacy": {"mechanism": "none"}}))
    done = audit(path, "--json")
    assert isinstance(done.exception, PrivacyError)
    assert done.exception.exit_code == 8
    assert json.loads(done.stdout)["conclusion"].startswith("epsilon: infinite; there is nothing to audit")


def test_under_mechanism_distributed_the_opened_sums_of_some_hospitals_are_audited(shared: Path) -> None:
    done = audit(shared, "--canaries", "200", "--silos", "10")
    assert done.exit_code == 0, done.output
    assert "mechanism  distributed: 3 opened sums, noise_multiplier 2" in done.stdout
    assert "10 hospitals, 7 of them in a sum modulo 2^32; 3 may collude, so 4 shares of noise_multiplier 1 make" in done.stdout
    last = done.stdout.splitlines()[-1]
    assert last.startswith("no violation found; lower bound")
    assert "the aggregator with 3 of 10 hospitals" in last
    assert "verified" not in done.output
    for test in ("sensitivity", "noise: size", "sampling: rate", "opening: sum", "canaries"):
        assert test in done.stdout


def test_the_json_of_mechanism_distributed_says_who_is_in_a_sum(shared: Path) -> None:
    report = json.loads(audit(shared, "--canaries", "100", "--json").stdout)
    wanted = {"name": "distributed", "silos": 4, "min_survivors": 3, "colluders": 1, "width_bits": 32, "steps": 3}
    assert wanted.items() <= report["mechanism"].items()
    assert report["mechanism"]["noise_share"] == pytest.approx(2.0 / 2**0.5)
    assert "1 of 4 hospitals" in report["adversary"]


def test_a_number_of_hospitals_means_nothing_to_a_hospital_that_adds_all_of_its_noise(plan: Path) -> None:
    done = audit(plan, "--silos", "4")
    assert isinstance(done.exception, InputError)
    assert "leave it out" in str(done.exception)


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_the_picture_is_written(plan: Path, ending: str) -> None:
    path = plan.with_name(f"scores.{ending}")
    assert audit(plan, "--canaries", "100", "--plot", path).exit_code == 0
    assert path.stat().st_size > 5000


def test_a_picture_that_cannot_be_drawn_is_refused_before_the_work(plan: Path) -> None:
    done = audit(plan, "--plot", "scores.bmp")
    assert isinstance(done.exception, InputError)
    assert "claim" not in done.output
