"""Podman, compose files, and what a trial started: it removes that and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
SILO, AGGREGATOR = "localhost/fedward-silo:0.1.0", "localhost/fedward-aggregator:0.1.0"
BROKER = "localhost/fedward-trial-broker:latest"


class TrialError(Exception):
    """Something did not hold; says what."""


def podman(*words: str, read: str = "") -> str:
    """Standard output of one podman command, which reads `read`. Raises CalledProcessError."""
    return subprocess.run(["podman", *words], check=True, text=True, input=read, stdout=subprocess.PIPE).stdout.strip()


def compose_program() -> list[str]:
    """podman-compose of this environment or of PATH; empty if there is none."""
    beside = Path(sys.executable).with_name("podman-compose")
    found = str(beside) if beside.exists() else shutil.which("podman-compose")
    return [found] if found else []


@dataclass(frozen=True)
class Project:
    """One party's folder with its compose file and .env."""

    name: str
    folder: Path

    def compose(self, *words: str, read: bool = False) -> str:
        """Run `compose ...` there; its standard output if it is to be `read`. Raises CalledProcessError."""
        program = [*compose_program(), "--in-pod=false", "-p", self.name, "-f", "compose.yaml", "-f", "trial.yaml", *words]
        done = subprocess.run(program, cwd=self.folder, check=True, text=True, stdout=subprocess.PIPE if read else None)
        return done.stdout or ""

    def tell(self, service: str, *words: str, read: bool = False) -> str:
        """Run one `fedward ...` in a container of its own, which is gone afterwards."""
        by_hand = ["--profile=desk", "--profile=office", "run", "--rm", "--no-deps", "-T"]
        return self.compose(*by_hand, service, *words, read=read)

    def ask(self, service: str, *words: str) -> dict[str, Any]:
        """The same with --json: what its last line says."""
        return dict(json.loads(self.tell(service, *words, "--json", read=True).splitlines()[-1]))

    def container(self, service: str) -> str:
        """The name compose gives it."""
        return f"{self.name}_{service}_1"


@dataclass
class Trial:
    """Where everything lies and how long each part took. Whatever it starts has `name` in front of its own name."""

    out: Path
    mlflow_port: int
    name: str = f"fedward-trial-{os.getpid()}"
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Say what happens, and remember how long it took."""
        print(f"\n== {what}", flush=True)
        begun = time.monotonic()
        yield
        self.seconds[what] = time.monotonic() - begun

    def project(self, source: str, party: str, settings: dict[str, str]) -> Project:
        """A party's copy of deploy/<source>, in this trial's network."""
        project = Project(f"{self.name}-{party}", self.out / party)
        shutil.copytree(ROOT / "deploy" / source, project.folder)
        (project.folder / ".env").write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        network = {"networks": {"outside": {"name": self.name, "external": True}}}
        (project.folder / "trial.yaml").write_text(yaml.safe_dump(network))
        return project

    def containers(self) -> list[str]:
        """The names of all that are there now."""
        return podman("ps", "--all", f"--filter=name=^{self.name}", "--format={{.Names}}").split()

    def end(self) -> None:
        """Stop and remove the containers of this trial, then its networks."""
        if left := self.containers():
            podman("stop", "--time=30", *left)
            podman("rm", "--force", "--ignore", "--depend", *left)
        if networks := podman("network", "ls", f"--filter=name={self.name}", "--format={{.Name}}").split():
            podman("network", "rm", *networks)
