"""Privacy at the command line: what a plan promises, what a hospital allows, what was paid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fedward.cli.run import _warn_no_privacy
from tests.conftest import PRIVATE, TINY, tiny_plan, tiny_store
from tests.fedward.test_cli import fedward

PROMISED = {"mechanism", "unit", "epsilon", "delta", "noise_multiplier", "sampling_rate", "steps", "clip_norm"}


def private(**privacy: Any) -> str:
    settings = {"mechanism": "local", "batch_patients": 5, "metrics_epsilon": 0.5, "secure_aggregation": False, **privacy}
    resize = {"data.preprocessing": [{"name": "Resize", "args": {"spatial_size": [16, 16]}}]}
    return tiny_plan(**{**PRIVATE, **resize, "privacy": settings}).canonical.decode()


def check(path: Path, *options: str) -> dict[str, Any]:
    done = fedward("plan", "check", path, "--json", *options)
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return facts


def test_plan_check_says_what_a_plan_promises_whichever_way_it_is_given(tmp_path: Path) -> None:
    by_epsilon, by_noise = tmp_path / "epsilon.yaml", tmp_path / "noise.yaml"
    by_epsilon.write_text(private(epsilon=4.0, sampling_rate=0.1))
    promise = check(by_epsilon)["privacy"]
    assert promise.keys() >= PROMISED
    assert (promise["mechanism"], promise["unit"], promise["delta"], promise["steps"]) == ("local", "patient", 1e-6, 9)
    assert 3.9 < promise["epsilon"] <= 4.0
    assert {row["patients"] for row in promise["cohorts"]} >= {100, 1000}
    by_noise.write_text(private(noise_multiplier=promise["noise_multiplier"], sampling_rate=0.1))
    assert check(by_noise, "--shallow")["privacy"]["epsilon"] == pytest.approx(promise["epsilon"], abs=1e-9)


def test_plan_check_says_infinite_for_a_plan_without_privacy(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(json.dumps(TINY))
    assert check(path, "--shallow")["privacy"]["epsilon"] is None
    said = fedward("plan", "check", path, "--shallow").stdout
    assert "epsilon: infinite" in said
    assert "secure aggregation: off" in said


def test_plan_check_proves_that_masked_sums_cannot_wrap_around(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(private(epsilon=4.0, secure_aggregation=True))
    proof = check(path, "--shallow")["privacy"]["secure_aggregation"]
    assert 0 < proof["largest_sum"] <= proof["room"] == 2**31 - 1
    assert (proof["silos"], proof["min_survivors"], proof["colluders"]) == (3, 3, 0)
    path.write_text(private(epsilon=4.0, secure_aggregation=True, update_bound=1e6, width_bits=16))
    refused = fedward("plan", "check", path, "--shallow")
    assert refused.returncode == 2
    assert "raise width_bits" in refused.stderr


def test_plan_check_names_the_layer_that_privacy_refuses_and_the_line(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    network = {"name": "resnet18", "args": {"spatial_dims": 2, "n_input_channels": 1, "num_classes": 2}}
    path.write_text(tiny_plan(**PRIVATE, network=network).canonical.decode())
    done = fedward("plan", "check", path)
    assert done.returncode == 2
    assert "layer 'bn1' is a BatchNorm2d and" in done.stderr
    assert "network.norm to group" in done.stderr


def test_a_policy_can_be_written_is_commented_and_its_mistakes_have_lines(tmp_path: Path) -> None:
    path = tmp_path / "north.policy.yaml"
    assert fedward("silo", "policy", path).returncode == 0
    text = path.read_text()
    assert "allow_without_privacy: false" in text
    assert "# approval: officers" in text  # left out, it is shown by a value it can have
    assert fedward("silo", "policy", path).returncode == 2
    for name in ("north", "south"):
        tiny_store(tmp_path / name, n=20)
    path.write_text(text.replace("min_patients: 10", "min_patient: 10"))
    plan = tmp_path / "plan.yaml"
    plan.write_text(private(epsilon=4.0))
    done = fedward("run", plan, f"--silo=n={tmp_path / 'north'}", f"--silo=s={tmp_path / 'south'}", "--out", tmp_path / "o")
    assert done.returncode == 8
    assert "north.policy.yaml:" in done.stderr
    assert "min_patient" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_without_privacy_a_run_needs_the_word_of_every_hospital_and_that_word_is_loud(tmp_path: Path) -> None:
    for seed, name in enumerate(("north", "south")):
        tiny_store(tmp_path / name, seed=seed)
        (tmp_path / f"{name}.policy.yaml").unlink()
    (tmp_path / "plan.yaml").write_text(json.dumps(TINY))
    command = ["run", str(tmp_path / "plan.yaml"), f"--silo=n={tmp_path / 'north'}", f"--silo=s={tmp_path / 'south'}"]
    refused = fedward(*command, "--out", tmp_path / "out")
    assert refused.returncode == 8
    assert "--accept-no-dp" in refused.stderr
    assert not (tmp_path / "out").exists()
    done = fedward(*command, "--out", tmp_path / "out", "--accept-no-dp")
    assert done.returncode == 0, done.stderr
    assert "epsilon is infinite" in " ".join(done.stderr.replace("│", " ").split())
    assert not list(tmp_path.glob("*.ledger.jsonl"))


@pytest.mark.slow
@pytest.mark.parametrize("masked", [True, False])
def test_the_warning_says_of_the_aggregator_what_is_true_of_this_plan(masked: bool, capsys: pytest.CaptureFixture[str]) -> None:
    _warn_no_privacy(masked=masked)
    said = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert ("can read each update" in said) == (not masked)
    assert "epsilon is infinite" in said


def test_a_misspelt_target_costs_nobody_anything(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(private(epsilon=4.0, sampling_rate=0.5).replace('"target":"finding"', '"target":"findings"'))
    stores = {name: tiny_store(tmp_path / name, seed=seed).path for seed, name in enumerate(("north", "south"))}
    silos = [word for name, path in stores.items() for word in ("--silo", f"{name}={path}")]
    refused = fedward("run", plan, *silos, "--out", tmp_path / "run")
    assert refused.returncode == 4
    assert "no image of north, south has a label 'findings'" in refused.stderr
    assert not list(tmp_path.glob("*.ledger.jsonl"))


def test_private_runs_pay_from_one_ledger_beside_the_store_until_it_is_empty(tmp_path: Path) -> None:
    for seed, name in enumerate(("north", "south")):
        tiny_store(tmp_path / name, seed=seed, n=60)
        (tmp_path / f"{name}.policy.yaml").write_text("max_epsilon_total: 10.0")
    (tmp_path / "plan.yaml").write_text(private(epsilon=8.0, sampling_rate=0.5))
    command = ["run", str(tmp_path / "plan.yaml"), f"--silo=n={tmp_path / 'north'}", f"--silo=s={tmp_path / 'south'}"]
    first = fedward(*command, "--out", tmp_path / "first", "--json")
    assert first.returncode == 0, first.stderr
    report = json.loads(first.stdout.splitlines()[-1])
    assert report["privacy"]["epsilon"] == pytest.approx(8.0, abs=0.05)
    assert all(site["n_train"] is None for site in report["sites"])
    second = fedward(*command, "--out", tmp_path / "second")
    assert second.returncode == 8
    assert second.stderr.count("max_epsilon_total") <= 4  # each hospital's reason once, and while it happens
    shown = fedward("silo", "budget", tmp_path / "north", "--json")
    assert shown.returncode == 0, shown.stderr
    study, *_ = json.loads(shown.stdout.splitlines()[-1])["studies"]
    assert study["epsilon"] == pytest.approx(8.0, abs=0.05)
    (tmp_path / "north.ledger.jsonl").unlink()
    forgotten = fedward(*command, "--out", tmp_path / "third")
    assert forgotten.returncode != 0
    assert "north.ledger.jsonl is gone" in forgotten.stderr
    assert "refused a request" not in forgotten.stderr
    assert "north.ledger.jsonl is gone" in (tmp_path / "third" / "silos.log").read_text()
    nothing = fedward(*command, "--out", tmp_path / "fourth", "--resume")
    assert nothing.returncode == 2
    assert "no job" in nothing.stderr
