"""What is looked at while containers run. Each raises TrialError if it does not hold."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from trial.engine import Project, TrialError, podman
from trial.parties import UID

PROBE = Path(__file__).with_name("probe.py")


def await_healthy(container: str, seconds: float = 300.0) -> None:
    """Until the container's own health check holds; asked here, for it also works where nothing runs it on a timer."""
    end = time.monotonic() + seconds
    while subprocess.run(["podman", "healthcheck", "run", container], check=False, capture_output=True).returncode:
        if time.monotonic() > end:
            print(podman("logs", "--tail=20", container))
            raise TrialError(f"{container} is not healthy after {seconds:.0f} s")
        time.sleep(1.0)
    print(f"{container} is healthy", flush=True)


def locked_down(container: str) -> None:
    """What docs/deploy.md promises of a node's container, asked inside it."""
    found = json.loads(podman("exec", "--interactive", container, "python3", "-", read=PROBE.read_text()))
    wanted = {"uid": UID, "capabilities": 0, "no_new_privileges": True, "writable": ["/state", "/ledger", "/kit"]}
    wanted["listens_beyond_loopback"] = []
    print(f"{container}: {json.dumps(found)}")
    if found != wanted or podman("port", container):
        raise TrialError(f"{container} should be {wanted} and publish no port")


def await_job(office: Project, job: str, seconds: float = 1200.0) -> Path:
    """The folder of a job that ended well."""
    end, last = time.monotonic() + seconds, ""
    while time.monotonic() < end:
        jobs = office.ask("office", "aggregator", "status", "--folder", "/consortium")["jobs"]
        (now,) = [one for one in jobs if one["job"] == job]
        live = now["live"] or {}
        said = f"{now['state']}, round {live.get('round', 0)} of {live.get('rounds', 0)}: {live.get('step', '')}"
        if said != last:
            print(said, flush=True)
        last = said
        if now["state"] == "done":
            return office.folder / "consortium" / "jobs" / job
        if now["state"] in ("failed", "cancelled"):
            raise TrialError(f"{job} {now['state']}: {now['reason']}")
        time.sleep(2.0)
    raise TrialError(f"{job} has not ended after {seconds:.0f} s")


def runs_in_mlflow(port: int, experiment: str) -> list[str]:
    """Names of the runs that MLflow shows on this machine's loopback."""
    found = _mlflow(port, "experiments/get-by-name", experiment_name=experiment)["experiment"]["experiment_id"]
    runs = _mlflow(port, "runs/search", body={"experiment_ids": [found]})["runs"]
    return sorted(run["info"]["run_name"] for run in runs)


def _mlflow(port: int, path: str, body: dict[str, Any] | None = None, **query: str) -> dict[str, Any]:
    url = f"http://127.0.0.1:{port}/api/2.0/mlflow/{path}?{urllib.parse.urlencode(query)}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # our own loopback
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return dict(json.load(answer))
