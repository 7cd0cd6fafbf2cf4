"""What the coordinator and the hospitals do by hand, as docs/deploy.md tells them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

from trial.engine import BROKER, Project, Trial

UID = 10001
HOST = "broker.trial"


def own(folder: Path) -> Path:
    """The folder, made if need be, for the containers' user alone."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["chown", "-R", f"{UID}:{UID}", str(folder)]
    subprocess.run(command if os.geteuid() == 0 else ["podman", "unshare", *command], check=True)
    return folder


def coordinator(trial: Trial) -> Project:
    """A consortium, and its broker running."""
    port = str(free_port())
    settings = {"BROKER_IMAGE": BROKER, "BROKER_HOST": HOST, "BROKER_LISTEN": "127.0.0.1", "BROKER_PORT": port}
    settings |= {"BROKER_CONTAINER": f"{trial.name}-broker", "MLFLOW_PORT": str(trial.mlflow_port)}
    office = trial.project("coordinator", "coordinator", settings)
    for folder in ("consortium/jobs", "consortium", "mlflow", "desk"):
        own(office.folder / folder)
    where = ["--url", f"tls://{HOST}:{port}", "--listen", f"0.0.0.0:{port}", "--folder", "/consortium"]
    office.tell("init", "consortium", "init", "trial", *where)
    office.compose("up", "-d", "broker")
    return office


def hospital(trial: Trial, name: str, export: Path) -> Project:
    """A hospital with its images imported and its policy written."""
    silo = trial.project("hospital", name, {"FEDWARD_EXPORT": str(export), "FEDWARD_MEMORY": "3g", "FEDWARD_CPUS": "1"})
    config = silo.folder / "config" / "silo.yaml"
    config.write_text(config.read_text().replace("threads: 4", "threads: 1") + "approval: local  # of a trial on one machine\n")
    for folder in ("config", "kit", "stores", "ledger", "state", "pseudonyms", "desk"):
        own(silo.folder / folder)
    words = ["/export/dicom", "--labels", "/export/labels.csv", "--store", "/stores/cohort", "--key", "/pseudonyms/cohort.key"]
    silo.tell("desk", "silo", "import", *words, "--workers", "1")
    silo.tell("desk", "silo", "policy", "/etc/fedward/policy.yaml")
    return silo


def join(office: Project, silos: dict[str, Project]) -> None:
    """Requests go to the coordinator, kits come back; the digits that people compare by telephone are handed over here."""
    for name, silo in silos.items():
        asked = silo.ask("desk", "silo", "join", name, "--folder", "/kit", "--out", f"/desk/{name}.request.json")
        mail(silo.folder / "desk" / f"{name}.request.json", office.folder / "desk")
        words = ["--fingerprint", asked["fingerprint"], "--folder", "/consortium"]
        office.tell("office", "consortium", "add-silo", f"/desk/{name}.request.json", *words)
    fingerprint = office.ask("office", "consortium", "show", "--folder", "/consortium")["coordinator_fingerprint"]
    for name, silo in silos.items():
        mail(office.folder / "consortium" / "kits" / f"{name}.kit.json", silo.folder / "desk")
        words = ["--kit", f"/desk/{name}.kit.json", "--folder", "/kit", "--fingerprint", fingerprint]
        silo.tell("desk", "silo", "join", *words)


def mail(file: Path, folder: Path) -> None:
    """Only public things travel: requests and kits."""
    shutil.copy(file, folder)
    own(folder)


def free_port() -> int:
    """A TCP port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
