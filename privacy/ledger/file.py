"""The ledger's file: JSON lines, only ever appended to, under a lock, and synced before anything is released.

A charge is made before the release it pays for. A process killed in between has charged for nothing: that is the safe side, and
there is no way to take a charge back. A last line without its line end was being written when the process died; its release
never happened, so it is cut off by the next charge, unless it is complete, in which case it counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from privacy.event_json import Event, encode
from privacy.ledger import disk
from privacy.ledger.budget import Budget, refuse_if_over
from privacy.ledger.entry import Charge, Entry, Head, charge_line, genesis_line
from privacy.ledger.lines import Lines, read_lines
from protocol.errors import LedgerError, LedgerRolledBackError


class Ledger:
    """What the patients of one cohort have paid so far. Safe with several processes and threads at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notices: tuple[str, ...] = ()
        """What a person should know, such as a line that was cut off."""
        self._lines: Lines | None = None
        self._seen: tuple[int, ...] = ()
        self.refresh()

    @classmethod
    def open(cls, path: Path) -> Self:
        """The ledger in `path`, with every line verified. Raises LedgerError naming the line that does not verify."""
        return cls(path)

    @classmethod
    def create(cls, path: Path, cohort: str) -> Self:
        """A new ledger for `cohort`. Raises LedgerError if there is one already; an interrupted creation is finished."""
        disk.create(path, genesis_line(cohort, _now()) + b"\n")
        return cls(path)

    @property
    def cohort(self) -> str:
        """Name of the cohort whose patients pay."""
        return self._known.cohort

    @property
    def created(self) -> str:
        """When the ledger was made, UTC."""
        return self._known.created

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Every charge, in order, as of the last time the file was read."""
        return tuple(self._known.entries)

    @property
    def head(self) -> Head:
        """The newest state, to be handed out as a witness."""
        return self._known.head

    @property
    def torn(self) -> int:
        """Bytes of a line that was never finished; the next charge cuts them off."""
        return self._known.torn

    def refresh(self) -> None:
        """Read what other processes have charged. Raises LedgerError."""
        with disk.locked(self.path, writing=False) as descriptor:
            self._read(descriptor)

    def charged(self, job: str, release: str) -> Charge | None:
        """The charge of this release, safely on disk; None if it has to be charged. Raises LedgerError."""
        with disk.locked(self.path, writing=False) as descriptor:
            self._read(descriptor)
            return self._on_disk(descriptor, self._known.find(job, release))

    def charge(
        self,
        *,
        study: str,
        plan: str,
        job: str,
        release: str,
        part: str,
        event: Event,
        delta: float,
        budget: Budget | None = None,
    ) -> Charge:
        """Charge for a release; when this returns, the charge is on disk and the release may leave.

        With `budget` the charge is refused (BudgetError) under the same lock if it would pass it. Charging the same release at
        the same price again returns the first charge, not `fresh`; at another price it raises LedgerError. A repeated round
        with a fresh sample is another release and needs another name.
        """
        with disk.locked(self.path, writing=True) as descriptor:
            self._read(descriptor)
            known = self._known
            value = {"study": study, "plan": plan, "job": job, "release": release, "part": part, "delta": delta, "at": _now()}
            value |= {"seq": known.head.entries + 1, "prev": known.head.digest, "event": encode(event)}
            line, entry = charge_line(value)
            before = known.find(job, release)
            if before is not None and not before.pays_for(entry):
                raise LedgerError(
                    f"{release} of job {job} was charged before with another plan, part or noise. A release is charged once: "
                    "give a repeated attempt a name of its own."
                )
            if charge := self._on_disk(descriptor, before):
                return charge
            if budget is not None:
                refuse_if_over(self, budget, job, {part: [event]})
            self._write(descriptor, line, entry)
        return Charge(entry.digest, entry.seq)

    def expect(self, witnesses: Iterable[Head]) -> None:
        """Raises LedgerRolledBackError unless every state that was once handed out is a state of this ledger's past."""
        for witness in witnesses:
            self._demand(self._known, witness)

    @property
    def _known(self) -> Lines:
        if self._lines is None:
            raise LedgerError(f"{self.path.name}: the ledger could not be read.")
        return self._lines

    def _read(self, descriptor: int) -> None:
        seen = disk.signature(descriptor)
        if seen == self._seen:
            return
        lines = read_lines(disk.read(descriptor, self.path.name), self.path.name)
        if self._lines is not None:
            self._demand(lines, self._lines.head)
        self._lines, self._seen = lines, seen

    def _demand(self, lines: Lines, witness: Head) -> None:
        if not lines.holds(witness):
            raise LedgerRolledBackError(
                f"{self.path.name}: the ledger once had {witness.entries} charges ending in {witness.digest[:19]}..., and this "
                "one has not. An older or another copy was put in its place. Restore the newest one; without it the budget of "
                "this cohort counts as spent."
            )

    def _on_disk(self, descriptor: int, entry: Entry | None) -> Charge | None:
        """A process may have been killed between writing and syncing, so what is found is synced before it counts."""
        if entry is None:
            return None
        disk.sync(descriptor, self.path.name)
        return Charge(entry.digest, entry.seq, fresh=False)

    def _write(self, descriptor: int, line: bytes, entry: Entry) -> None:
        known, data = self._known, self._known.line_end + line + b"\n"
        if known.torn:
            self.notices += (f"{self.path.name}: a line that was never finished ({known.torn} bytes) was cut off.",)
        disk.append(descriptor, data, self.path.name, keep=known.size)
        self._lines, self._seen = known.followed_by(entry, len(data)), disk.signature(descriptor)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
