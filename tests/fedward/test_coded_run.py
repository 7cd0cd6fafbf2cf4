"""`fedward run` with a module beside the plan: three hospitals' phantoms, killed and resumed, in clear and under privacy."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedward.demo.phantoms import hospitals as phantoms
from fedward.demo.phantoms.sites import SITES
from silo_node.intake import import_folder
from tests.conftest import GENEROUS, PRIVATE, TINY
from tests.fedward.test_cli import fedward
from tests.privacy.coded.modules import WRITTEN_OUT

HOSPITALS = 3
RESIZED = [
    {"name": "Resize", "args": {"spatial_size": [24, 24]}},
    {"name": "NormalizeIntensity", "args": {"subtrahend": 0.5, "divisor": 0.25}},
]
OWN: dict[str, Any] = {
    **TINY,
    "code": {"file": "mine.py"},
    "network": {"name": "code.Net", "args": {"width": 4}},
    "training": {**TINY["training"], "loss": {"name": "code.loss"}},
    "data": {**TINY["data"], "split": {"validation_fraction": 0.2}, "preprocessing": RESIZED},
}


@pytest.fixture(scope="module")
def silos(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Three cohort stores of phantoms, some two dozen patients each, beside policies that allow everything."""
    folder = tmp_path_factory.mktemp("hospitals")
    small = [replace(site, mix=replace(site.mix, patients=24), misfits=(), cines=0) for site in SITES[:HOSPITALS]]
    key = folder / "pseudonym.key"
    key.touch(mode=0o600)
    key.write_bytes(b"k" * 32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phantoms, "SITES", tuple(small))
        written = phantoms.write_hospitals(folder / "dicom")
    for hospital in written:
        import_folder(hospital.dicom, hospital.labels, folder / hospital.name, key=key)
        policy = GENEROUS.model_dump(mode="json", by_alias=True)
        (folder / f"{hospital.name}.policy.yaml").write_text(json.dumps(policy))
    return [f"--silo={hospital.name}={folder / hospital.name}" for hospital in written]


def write(folder: Path, plan: dict[str, Any]) -> Path:
    folder.mkdir()
    (folder / "mine.py").write_text(WRITTEN_OUT)
    (folder / "plan.yaml").write_text(json.dumps(plan))
    return folder / "plan.yaml"


def ended(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert (report["model"]["network"], len(report["sites"])) == ("code.Net", HOSPITALS)
    assert report["performance"]["global"]["auroc"]["status"]
    return report


@pytest.mark.slow(60)
def test_three_hospitals_train_a_module_and_a_run_that_was_killed_resumes_to_the_same_model(
    silos: list[str], tmp_path: Path
) -> None:
    plan = write(tmp_path / "plan", {**OWN, "federation": {**TINY["federation"], "rounds": 6, "quorum": 3}})
    digests = []
    for name, kill in (("straight", False), ("killed", True)):
        arguments = ["run", str(plan), *silos, "--out", str(tmp_path / name), "--json", "--accept-code"]
        if kill:
            command = [sys.executable, "-m", "fedward", *arguments]
            environment = os.environ | {"COLUMNS": "200", "NO_COLOR": "1"}
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)
            assert process.stderr is not None
            for line in process.stderr:
                if line.startswith("round 3"):
                    break
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stderr.close()
            assert process.returncode == -signal.SIGKILL
            arguments.append("--resume")
        report = ended(fedward(*arguments, cold=True))
        digests.append(report["model"]["digest"])
    assert digests[0] == digests[1]


@pytest.mark.slow(60)
def test_three_hospitals_train_a_module_under_privacy_in_masked_sums(silos: list[str], tmp_path: Path) -> None:
    """With turns of equal length, as in earnest."""
    changes = {"rounds": 2, "weighting": "uniform", "quorum": 3}
    plan = {
        **OWN,
        "code": {"file": "mine.py", "turns_per_score": 32},
        "federation": {**TINY["federation"], **changes},
        "training": {**OWN["training"], "local_steps": 1},
        "privacy": {**PRIVATE["privacy"], "secure_aggregation": True},
        "evaluation": {"alone": False, "every": 2},
    }
    path = write(tmp_path / "plan", plan)
    report = ended(fedward("run", path, *silos, "--out", tmp_path / "out", "--json", "--accept-code", cold=True))
    assert report["privacy"]["mechanism"] == "local"
    assert report["privacy"]["epsilon"] > 0.0
