"""`fedward cluster up`: start everything, run a plan if one is named, stop everything."""

from __future__ import annotations

import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from aggregator.service.queue import ENDED, Queue, Ticket
from fedward.cluster.layout import Hospital, Layout, lay_out
from fedward.cluster.processes import Processes, await_port, broker_binary, free_ports
from fedward.federation import Result
from protocol.errors import FederationError
from protocol.plan import Plan

_START_S = 120.0
_RESULTS = ("report.json", "report.html", "model.safetensors", "plan.yaml")
Tick = Callable[[str], None]


@dataclass(frozen=True)
class ClusterSettings:
    """Where a cluster lies and what it is made with. `threads` 0 leaves each silo all cores."""

    out: Path
    broker: Path | None = None
    device: str = "auto"
    threads: int = 1


def start(hospitals: Mapping[str, Hospital], settings: ClusterSettings, processes: Processes, tick: Tick) -> Layout:
    """Start broker, silos and aggregator; back when every silo has reached the broker. Raises FederationError."""
    binary = broker_binary(settings.broker)
    layout = lay_out(settings.out, hospitals, free_ports(2 + len(hospitals)), settings.device, settings.threads)
    tick("starting the broker")
    processes.start("broker", [binary, "-c", str(layout.office.config)])
    await_port(layout.broker_port, 20.0, processes)
    tick("starting aggregator and silos")
    processes.start("aggregator", aggregator_command(layout, settings))
    processes.start("silos", silos_command(layout, tuple(layout.configs), processes))
    await_silos(layout.health, processes)
    return layout


def aggregator_command(layout: Layout, settings: ClusterSettings) -> list[str]:
    """What serves the jobs; killed, it goes on when the same command is started again."""
    folder = ["--folder", str(layout.office.folder), "--tracking-folder", str(settings.out)]
    return [sys.executable, "-m", "fedward", "aggregator", "serve", *folder, "--log", "json"]


def silos_command(layout: Layout, names: Sequence[str], processes: Processes) -> list[str]:
    """One parent of these silos; each has a log of its own."""
    silos = [f"{name}={layout.configs[name].absolute()}={processes.log(name).absolute()}" for name in names]
    return [sys.executable, "-m", "fedward.cluster.silos", *silos]


def await_silos(health: Mapping[str, int], processes: Processes, seconds: float = _START_S) -> None:
    """Until each silo's health page says that it is ready. Raises FederationError."""
    end, waiting = time.monotonic() + seconds, dict(health)
    while waiting:
        processes.check()
        waiting = {name: port for name, port in waiting.items() if not _ready(port)}
        if waiting and time.monotonic() > end:
            raise FederationError(
                f"{', '.join(waiting)} not ready after {seconds:g} s; see {processes.log(next(iter(waiting)))}."
            )
        time.sleep(0.1)


def run_plan(
    plan: Plan, layout: Layout, settings: ClusterSettings, processes: Processes, watch: Callable[[Ticket], None]
) -> Result:
    """Submit `plan`, watch it to its end, and leave the results in `out`. Raises FederationError if it fails."""
    ticket = Queue(layout.office.folder).submit(plan)
    while (standing := ticket.standing()).state not in ENDED:
        processes.check()
        watch(ticket)
        time.sleep(0.25)
    if standing.state != "done":
        raise FederationError(f"{ticket.name} {standing.state}: {standing.reason}")
    for name in _RESULTS:
        shutil.copyfile(ticket.folder / name, settings.out / name)
    if (ticket.folder / "evidence").is_dir():
        shutil.copytree(ticket.folder / "evidence", settings.out / "evidence", dirs_exist_ok=True)
    out = settings.out
    report = msgspec.json.decode((out / "report.json").read_bytes())
    uri = f"sqlite:///{(out / 'mlflow.db').absolute()}"
    return Result(report, out / "report.json", out / "report.html", out / "model.safetensors", uri, "")


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2.0) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
