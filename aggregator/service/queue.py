"""Jobs as folders: submitted, running, done. Whoever can write the folder is the coordinator; there is no port to guard.

jobs/<number>-<plan>/
    plan.json     the plan's canonical bytes
    state.json    where the job stands; replaced in one step
    live.json     what a running job is doing now
    cancel        asks for its end
    job/          the journal
    report.html, report.json, model.safetensors ...
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from protocol.consortium.files import replace
from protocol.errors import InputError, JournalError
from protocol.plan import Plan, parse_canonical

State = Literal["queued", "running", "done", "failed", "cancelled"]
ENDED: tuple[State, ...] = ("done", "failed", "cancelled")


class Standing(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a job stands. Times are Unix seconds; `reason` says why it failed or waits."""

    state: State
    submitted_at: float
    started_at: float | None = None
    ended_at: float | None = None
    attempts: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Ticket:
    """One submitted job."""

    folder: Path

    @property
    def name(self) -> str:
        """Number and plan, as `status` and `cancel` call it."""
        return self.folder.name

    @property
    def live(self) -> Path:
        """What a running job is doing now."""
        return self.folder / "live.json"

    def plan(self) -> Plan:
        """Raises PlanError if the file was changed."""
        return parse_canonical((self.folder / "plan.json").read_bytes())

    def standing(self) -> Standing:
        """Raises JournalError if it cannot be read."""
        try:
            return msgspec.json.decode((self.folder / "state.json").read_bytes(), type=Standing)
        except (OSError, msgspec.DecodeError) as error:
            raise JournalError(f"state.json of {self.name} cannot be read ({error}); restore it, or submit again.") from error

    def put(self, standing: Standing) -> Standing:
        """Durable before this returns."""
        replace(self.folder / "state.json", msgspec.json.encode(standing))
        return standing

    @property
    def cancelled(self) -> bool:
        """Whether its end was asked for."""
        return (self.folder / "cancel").exists()


class Queue:
    """The jobs in `folder`, in the order in which they were submitted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "jobs"

    def tickets(self) -> list[Ticket]:
        """All of them; one that is still being written is not there yet."""
        found = self._folder.glob("[0-9]*-*") if self._folder.exists() else ()
        return [Ticket(path) for path in sorted(found) if (path / "state.json").exists()]

    def submit(self, plan: Plan) -> Ticket:
        """Put a plan in the queue. Raises InputError if the folder cannot be written."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            while True:
                last = max((int(path.name.split("-")[0]) for path in self._folder.glob("[0-9]*-*")), default=0)
                ticket = Ticket(self._folder / f"{last + 1:04d}-{plan.name}")
                try:
                    ticket.folder.mkdir()
                    break
                except FileExistsError:  # another was submitted at this moment
                    continue
        except OSError as error:
            raise InputError(f"{self._folder} cannot be written ({error.strerror}); name the consortium's folder.") from error
        replace(ticket.folder / "plan.json", plan.canonical)
        ticket.put(Standing("queued", time.time()))
        return ticket

    def find(self, name: str) -> Ticket:
        """By its name, or its number alone. Raises InputError."""
        for ticket in self.tickets():
            if name in (ticket.name, ticket.name.split("-")[0]) or ticket.name.split("-")[0].lstrip("0") == name:
                return ticket
        names = ", ".join(ticket.name for ticket in self.tickets()) or "none"
        raise InputError(f"there is no job {name!r}. Submitted: {names}.")

    def cancel(self, name: str) -> Ticket:
        """Ask for a job's end: at once if it waits, else at the next answer of a silo. Raises InputError if it has ended."""
        ticket = self.find(name)
        standing = ticket.standing()
        if standing.state in ENDED:
            raise InputError(f"{ticket.name} is {standing.state} already.")
        replace(ticket.folder / "cancel", b"")
        return ticket

    def next(self) -> Ticket | None:
        """The job to work on: one that was running when the service ended, else the oldest in the queue."""
        standings = [(ticket, ticket.standing().state) for ticket in self.tickets()]
        for wanted in ("running", "queued"):
            for ticket, state in standings:
                if state == wanted:
                    return ticket
        return None
