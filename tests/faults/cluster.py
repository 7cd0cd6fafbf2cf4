"""A small consortium of real processes that a test may hurt: killed, stopped, cut off, filled up. TLS is on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aggregator.service.live import Live, read_live
from aggregator.service.queue import ENDED, Queue, Standing, Ticket
from fedward.cluster.layout import Hospital, lay_out
from fedward.cluster.processes import Processes, await_port, broker_binary, free_ports
from fedward.cluster.up import ClusterSettings, aggregator_command, await_silos, silos_command
from protocol.plan import Plan
from tests.conftest import PRIVATE, tiny_plan, tiny_store

DEADLINE_S = 90.0
"""What a silo has for one request; on a busy machine a fault and what follows it take a fraction of it."""
PHASES = ("Advertise", "ShareSecrets", "Deliver", "TrainMasked", "AskVouch", "Reveal")


class Broken(Processes):
    """Processes that can be killed and started again."""

    def __init__(self, logs: Path) -> None:
        super().__init__(logs)
        self._commands: dict[str, Sequence[str]] = {}

    def start(self, name: str, command: Sequence[str]) -> None:
        self._commands[name] = command
        super().start(name, command)

    def kill(self, name: str) -> None:
        """As a power cut would."""
        process: subprocess.Popen[bytes] = self._running.pop(name)
        process.kill()
        process.wait()

    def again(self, name: str) -> None:
        """The same command once more, as a service manager would."""
        super().start(name, self._commands[name])

    def ended(self, name: str) -> int:
        """The exit code of one that ends by itself."""
        process = self._running[name]
        wait_for(lambda: process.poll() is not None, f"the end of {name}", 60.0)
        del self._running[name]
        return int(process.returncode)

    def runs(self, name: str) -> bool:
        return name in self._running


class Cluster:
    """Broker, aggregator and silos on loopback. `apart`: silos that the test starts, not the silos' parent."""

    def __init__(self, folder: Path, names: Sequence[str], apart: Sequence[str] = ()) -> None:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        self.folder, self.names, self._apart = folder, tuple(names), tuple(apart)
        self.ledgers = {name: folder / "silos" / name / "disk" / "ledger.jsonl" for name in names}
        hospitals = {}
        for seed, name in enumerate(names):
            tiny_store(folder / "stores" / name, n=24, seed=seed)
            policy = folder / "stores" / f"{name}.policy.yaml"
            hospitals[name] = Hospital(folder / "stores" / name, policy, self.ledgers[name])
        self.settings = ClusterSettings(folder, device="cpu")
        self.processes = Broken(folder / "logs")
        self.layout = lay_out(folder, hospitals, free_ports(2 + len(hospitals)), "cpu", 1)
        for name, config in self.layout.configs.items():  # state and ledger on one disk of their own, so that it can fill up
            (folder / "silos" / name / "disk").mkdir()
            config.write_text(config.read_text().replace("state: state", "state: disk/state"))
        self.queue = Queue(self.layout.office.folder)
        self._read: dict[str, tuple[int, list[dict[str, Any]]]] = {}

    # -------------------------------------------------------------------------------------------------------------- processes

    def start(self) -> None:
        """Everything; back when every silo has reached the broker."""
        self.processes.start("broker", [broker_binary(None), "-c", str(self.layout.office.config)])
        await_port(self.layout.broker_port, 30.0, self.processes)
        self.processes.start("aggregator", aggregator_command(self.layout, self.settings))
        together = [name for name in self.names if name not in self._apart]
        self.processes.start("silos", silos_command(self.layout, together, self.processes))
        for name in self._apart:
            self.processes.start(name, self.serve_command(name))
        self.ready()

    def serve_command(self, name: str) -> list[str]:
        """What a hospital runs."""
        return [sys.executable, "-m", "fedward", "silo", "serve", str(self.layout.configs[name])]

    def ready(self, *names: str) -> None:
        """Until these silos, or all, say that they are ready."""
        health = {name: port for name, port in self.layout.health.items() if name in (names or self.names)}
        await_silos(health, self.processes, 120.0)

    def stop(self) -> None:
        self.processes.__exit__(None, None, None)

    def pid(self, name: str) -> int:
        """Of a silo too: it writes to its own log."""
        if name not in self.names or name in self._apart:
            return self.processes.pid(name)
        log = self.processes.log(name)
        parent = self.processes.pid("silos")

        def found() -> int:
            for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
                try:
                    if Path(f"/proc/{child}/fd/1").samefile(log):
                        return int(child)
                except OSError:
                    continue
            return 0

        return wait_for(found, f"a process of {name}", 30.0)

    def kill(self, name: str) -> None:
        """SIGKILL. The silos' parent starts a silo of its own again; whatever else must be started by the test."""
        if name in self.names and name not in self._apart:
            os.kill(self.pid(name), signal.SIGKILL)
        else:
            self.processes.kill(name)

    def again(self, name: str) -> None:
        """Start again what was killed, if nobody else does."""
        if name not in self.names or name in self._apart:
            self.processes.again(name)
        if name == "broker":
            await_port(self.layout.broker_port, 30.0, self.processes)

    def reborn(self, name: str) -> None:
        """Kill a silo; back when it serves again."""
        served = lambda: sum(line.get("event") == "serving" for line in self.log_lines(name))  # noqa: E731
        before = served()
        self.kill(name)
        self.again(name)
        wait_for(lambda: served() > before, f"{name} again", 60.0)
        self.ready(name)

    # ------------------------------------------------------------------------------------------------------------------- jobs

    def submit(self, plan: Plan) -> Ticket:
        return self.queue.submit(plan)

    def wait(self, ticket: Ticket, seconds: float) -> Standing:
        """Until the job has ended; whoever does not end within `seconds` hangs."""

        def ended() -> Standing | None:
            self.processes.check()  # whoever ended by himself would be waited for in vain
            return standing if (standing := ticket.standing()).state in ENDED else None

        return wait_for(ended, f"the end of {ticket.name}", seconds, lambda: str(self.live(ticket)), every=0.05)

    def live(self, ticket: Ticket) -> Live | None:
        return read_live(ticket.live)

    def job_name(self, ticket: Ticket) -> str:
        """As messages and ledgers call it."""
        live = wait_for(lambda: (live := self.live(ticket)) and live.job and live, f"the beginning of {ticket.name}", 120.0)
        return str(live.job)

    def requests(self, name: str, job: str | None = None) -> list[dict[str, Any]]:
        """What the silo's log says of the requests it answered or refused, in order."""
        return [
            line for line in self.log_lines(name) if line.get("event") == "request" and (job is None or line.get("job") == job)
        ]

    def log_lines(self, name: str) -> list[dict[str, Any]]:
        """Of a log of JSON lines, which only grows; a line that is still being written is not there yet."""
        begin, lines = self._read.setdefault(name, (0, []))
        with self.processes.log(name).open("rb") as file:
            file.seek(begin)
            whole = file.read().rpartition(b"\n")[0]
        for line in whole.split(b"\n"):
            try:
                lines.append(json.loads(line))
            except ValueError:
                continue
        self._read[name] = (begin + len(whole) + 1 if whole else begin, lines)
        return list(lines)


def wait_for(
    condition: Callable[[], Any], what: str, seconds: float, say: Callable[[], str] = str, every: float = 0.004
) -> Any:
    """What `condition` returns as soon as it is true. Looks often: an instant between two messages is milliseconds long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(every)
    raise AssertionError(f"{what} did not come within {seconds:g} s. {say()}")


def plan_of(mechanism: str, **changes: Any) -> Plan:
    """A plan under secure aggregation whose jobs take about a second, among hospitals that must all stay."""
    common = {"federation.round_deadline_s": DEADLINE_S, "federation.quorum": 3, "evaluation": {"alone": False}}
    if mechanism == "none":
        plan = common | {"privacy": {"mechanism": "none", "secure_aggregation": True}}
    else:
        privacy = PRIVATE["privacy"] | {"mechanism": mechanism, "secure_aggregation": True}
        if mechanism == "distributed":
            privacy |= {"spare_rounds": 30}
        plan = PRIVATE | common | {"privacy": privacy}
        if mechanism == "distributed":
            plan |= {"training.local_steps": 1, "training.mu": 0.0, "training.optimizer": {"name": "SGD", "lr": 1.0}}
    return tiny_plan(**(plan | {"federation.rounds": len(PHASES) + 1} | changes))
