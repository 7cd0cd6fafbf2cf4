"""The command line as people use it: real processes, their exit codes, and what they print where."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors import safe_open

from protocol.plan import plan_template
from tests import warm
from tests.conftest import TINY, tiny_store


def fedward(*arguments: str | Path, cwd: Path | None = None, cold: bool = False) -> subprocess.CompletedProcess[str]:
    """The command's own process; `cold`: also with every import, which takes ten seconds."""
    words, environment = list(map(str, arguments)), os.environ | {"COLUMNS": "200", "NO_COLOR": "1"}
    if not cold:
        return warm.run(*words, cwd=cwd, environment=environment)
    command = [sys.executable, "-m", "fedward", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two stores and a plan."""
    folder = tmp_path_factory.mktemp("site")
    for seed, name in enumerate(("north", "south")):
        tiny_store(folder / name, seed=seed, n=60)
    (folder / "plan.yaml").write_text(json.dumps(TINY))
    return folder


def silos(site: Path) -> list[str]:
    return [f"--silo=north={site / 'north'}", f"--silo=south={site / 'south'}"]


@pytest.mark.parametrize("command", [[], ["run"], ["plan"], ["plan", "check"], ["silo"], ["silo", "import"], ["demo"]])
def test_help_answers_without_loading_anything_heavy(command: list[str]) -> None:
    code = (
        f"import sys; sys.argv = ['fedward', *{command!r}, '--help']\n"
        "import fedward.__main__ as m\n"
        "try: m.main()\n"
        "except SystemExit as e: assert not e.code\n"
        "heavy = {'torch', 'monai', 'mlflow', 'pydicom', 'numpy', 'scipy', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_brackets_in_a_help_text_are_not_taken_for_markup() -> None:
    assert "fedward[pdf]" in fedward("audit", "report", "--help").stdout


def test_an_example_plan_can_be_written_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    assert fedward("plan", "new", path).returncode == 0
    assert path.read_text() == plan_template()
    again = fedward("plan", "new", path)
    assert again.returncode == 2
    assert "does not overwrite" in again.stderr
    checked = fedward("plan", "check", path, "--json")
    assert checked.returncode == 0, checked.stderr
    facts = json.loads(checked.stdout)
    assert facts["valid"] is True
    assert facts["network_input"] == [1, 64, 64]


@pytest.mark.parametrize(
    ("old", "new", "where", "says"),
    [
        ("quorum: 3", "quorom: 3", "federation.quorom", "not a key"),
        ('"spatial_size": [64, 64]', '"spatial_size": [64, 64], "sharp": 1', "data.preprocessing[0]", "takes no sharp"),
        ('"in_shape": [1, 64, 64]', '"in_shape": [1, 32, 32]', "network", "cannot take"),
        ('"classes": 2', '"classes": 3', "network", "needs [1, 2]"),
        ('"spatial_axis": 1', '"spatial_axis": 7', "data.augmentation[0]", "RandFlip failed"),
        ("personal: []", 'personal: ["tail"]', "federation.personal", "no part 'tail'"),
    ],
)
def test_a_plan_error_names_file_line_and_key_without_a_traceback(
    tmp_path: Path, old: str, new: str, where: str, says: str
) -> None:
    text = plan_template()
    assert old in text
    path = tmp_path / "p.yaml"
    path.write_text(text.replace(old, new))
    done = fedward("plan", "check", path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert says in done.stderr
    line = int(done.stderr.split("p.yaml:")[1].split(":")[0])
    key = where.split(".")[-1].split("[")[0]
    nearby = path.read_text().splitlines()[line - 2 : line + 1]
    assert any(key in shown or new.split(",")[0] in shown for shown in nearby)
    assert "Traceback" in fedward("--debug", "plan", "check", path).stderr


def test_wrong_arguments_are_explained(site: Path, tmp_path: Path) -> None:
    plan = site / "plan.yaml"
    cases = [
        (["--silo", "north"], 2, "NAME=STORE"),
        (["--silo", "no/rth=x"], 2, "letters, digits"),
        (["--silo", f"n={site / 'north'}", "--silo", f"n={site / 'south'}"], 2, "given twice"),
        (["--silo", f"n={site / 'north'}"], 2, "quorum is 2"),
        (["--silo", f"n={site / 'north'}", "--silo", f"s={tmp_path / 'none'}"], 3, "StoreError"),
    ]
    for arguments, code, says in cases:
        done = fedward("run", plan, "--out", tmp_path / "out", *arguments)
        assert (done.returncode, says in done.stderr, "Traceback" in done.stderr) == (code, True, False), done.stderr
    assert not (tmp_path / "out" / "job").exists()


@pytest.mark.slow
def test_a_run_leaves_report_model_and_tracking_and_prints_the_report(site: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = fedward("run", site / "plan.yaml", *silos(site), "--out", out, "--json", cold=True)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report == json.loads((out / "report.json").read_text())
    assert [entry["id"] for entry in report["sites"]] == ["north", "south"]
    for entry in report["sites"]:
        assert {"n_train", "n_test", "auroc", "alone"} <= entry.keys()
        assert {"value", "status"} <= entry["auroc"].keys()
    assert report["performance"]["global"]["auroc"]["status"]
    assert all((out / name).exists() for name in ("report.html", "model.safetensors", "mlflow.db", "plan.yaml"))
    assert "report.html" in done.stderr
    # An auditor recomputes the model's digest from the file alone (docs/report.md).
    with safe_open(out / "model.safetensors", framework="numpy") as file:
        order = json.loads(file.metadata()["order"])
        values = b"".join(file.get_tensor(name).astype("<f4").tobytes() for name in order)
    assert "sha256:" + hashlib.sha256(values).hexdigest() == report["model"]["digest"]
    second = fedward("run", site / "plan.yaml", *silos(site), "--out", out)
    assert second.returncode == 2
    assert "--resume" in second.stderr
    resumed = fedward("run", site / "plan.yaml", *silos(site), "--out", out, "--resume", "--json")
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout.splitlines()[-1])["model"]["digest"] == report["model"]["digest"]


@pytest.mark.slow
def test_a_run_killed_from_outside_resumes_to_the_same_model(site: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    long = TINY | {"federation": TINY["federation"] | {"rounds": 12}, "training": TINY["training"] | {"local_steps": 20}}
    plan.write_text(json.dumps(long))
    digests = []
    for name, kill in (("straight", False), ("killed", True)):
        arguments = ["run", plan, *silos(site), "--out", tmp_path / name, "--json"]
        if kill:
            command = [sys.executable, "-m", "fedward", *map(str, arguments)]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            assert process.stderr is not None
            for line in process.stderr:  # as soon as a few rounds are done
                if line.startswith("round 4"):
                    break
            time.sleep(0.05)
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stderr.close()
            assert process.returncode == -signal.SIGKILL
            arguments.append("--resume")
        done = fedward(*arguments)
        assert done.returncode == 0, done.stderr
        digests.append(json.loads(done.stdout.splitlines()[-1])["model"]["digest"])
        if kill:
            assert "resumed:" in done.stderr
    assert digests[0] == digests[1]


def test_one_cohort_under_two_names_and_a_device_that_is_not_there_are_refused(site: Path, tmp_path: Path) -> None:
    north = site / "north"
    twice = fedward("run", site / "plan.yaml", f"--silo=a={north}", f"--silo=b={north}", "--out", tmp_path / "o")
    assert twice.returncode == 2
    assert "same cohort" in twice.stderr
    device = fedward("run", site / "plan.yaml", *silos(site), "--out", tmp_path / "o", "--device", "warp")
    assert device.returncode == 2
    assert "--device warp" in device.stderr
    (tmp_path / "file").touch()
    blocked = fedward("run", site / "plan.yaml", *silos(site), "--out", tmp_path / "file")
    assert blocked.returncode == 2
    assert "choose another folder" in blocked.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_a_run_says_that_it_can_go_on(site: Path, tmp_path: Path, number: signal.Signals) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(json.dumps(TINY | {"federation": TINY["federation"] | {"rounds": 500}}))
    command = [sys.executable, "-m", "fedward", "run", str(plan), *silos(site), "--out", str(tmp_path / "o")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("round 1"):
            break
    process.send_signal(number)
    rest = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 130
    assert "--resume" in rest
    assert "Traceback" not in rest
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "o").rglob("*"))
