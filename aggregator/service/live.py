"""What a running job is doing now, for `fedward aggregator status`: kept in one small file, replaced at every event."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event as Flag
from threading import Lock, Thread

import msgspec
from msgspec import Struct

from aggregator.events import Event, JobOpened, RoundCommitted, Scored, SiloAnswered, StepStarted
from aggregator.tracking.names import of_scores
from privacy.spent import Spent
from protocol.consortium.files import replace
from protocol.errors import ConsortiumError, EvaluationError

_WHOLE = ("global/val/auroc", "global/test/auroc")


class SiloLive(Struct, frozen=True):
    """One silo: how it stands with the broker, and what it did in the step at hand."""

    presence: str = "never seen"
    silent_s: float | None = None
    step: str = "waiting"


class Live(Struct, frozen=True):
    """Round `round` of `rounds`, in step `step` since `since` (Unix seconds)."""

    at: float
    job: str = ""
    step: str = "describe"
    since: float = 0.0
    round: int = 0
    rounds: int = 0
    committed: int = 0
    deadline_s: float = 0.0
    epsilon: float | None = None
    auroc: float | None = None
    silos: dict[str, SiloLive] = {}


Presence = Callable[[], Mapping[str, tuple[str, float | None]]]
"""Each silo's state at the broker and the seconds since it was last heard."""


class LiveStatus:
    """An observer that keeps `path` up to date; `presence` is asked whenever it is written."""

    def __init__(self, path: Path, silos: tuple[str, ...], presence: Presence) -> None:
        self._path, self._presence = path, presence
        self._now = Live(at=time.time(), since=time.time(), silos={silo: SiloLive() for silo in silos})
        self._spent: Spent | None = None
        self._writing = Lock()
        self.refresh()

    def __call__(self, event: Event) -> None:
        """Take in one event."""
        with self._writing:
            self._now = self._after(event)
        self.refresh()

    def _after(self, event: Event) -> Live:
        now, change = self._now, msgspec.structs.replace
        if isinstance(event, JobOpened):
            plan = event.plan
            self._spent = None if plan.privacy.mechanism == "none" else Spent(plan)
            limits = {"rounds": plan.federation.rounds, "deadline_s": plan.federation.round_deadline_s}
            now = change(now, job=event.job, committed=event.committed, **limits)
        elif isinstance(event, StepStarted):
            silos = {name: change(one, step="asked" if name in event.silos else "not asked") for name, one in now.silos.items()}
            now = change(now, step=event.name, round=event.round, since=time.time(), silos=silos)
        elif isinstance(event, SiloAnswered) and event.silo in now.silos:
            said = "answered" if event.failure is None else f"failed: {event.failure}"
            now = change(now, silos=now.silos | {event.silo: change(now.silos[event.silo], step=said)})
        elif isinstance(event, RoundCommitted):
            epsilon = None if self._spent is None else self._spent.after(event.record.round)
            now = change(now, committed=max(now.committed, event.record.round), epsilon=epsilon)
        elif isinstance(event, Scored) and event.record.kind == "federated":
            try:  # the figure of MLflow and the report: none where noise leaves none
                whole = of_scores(event.record)[0]
            except EvaluationError:
                whole = {}
            now = change(now, auroc=next((whole[name] for name in _WHOLE if name in whole), None))
        return now

    @contextmanager
    def kept_fresh(self, every_s: float = 5.0) -> Iterator[None]:
        """Meanwhile the file is written again and again: between two events silos may come and go for hours."""
        done = Flag()

        def keep() -> None:
            while not done.wait(every_s):
                self.refresh()

        thread = Thread(target=keep, name="live-status", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def refresh(self) -> None:
        """Write the file again, with who is there at this moment. A status that cannot be written stops no job."""
        there = self._presence()
        with self._writing, suppress(ConsortiumError):
            self._write(there)

    def _write(self, there: Mapping[str, tuple[str, float | None]]) -> None:
        silos = {
            name: msgspec.structs.replace(one, presence=there[name][0], silent_s=there[name][1]) if name in there else one
            for name, one in self._now.silos.items()
        }
        self._now = msgspec.structs.replace(self._now, at=time.time(), silos=silos)
        replace(self._path, msgspec.json.encode(self._now))


def read_live(path: Path) -> Live | None:
    """What was written last; None if nothing was, or it is no such file."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Live)
    except (OSError, msgspec.DecodeError):
        return None
