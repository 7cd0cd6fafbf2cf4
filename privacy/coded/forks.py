"""Which process calculates: one for a while where no promise to patients is kept, a fresh one for each patient where one is.

Under differential privacy a process sees one patient and ends, so whatever the module keeps, it keeps of nobody else. Its turn
takes the same time whatever happens in it: how long a round took would else tell what the module thought of a patient.
"""

from __future__ import annotations

import hashlib
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from privacy.coded.nurseries import LIMITS, borrow, give_back
from privacy.coded.packing import Array
from privacy.randomness import SecureBits
from privacy.sandbox import Fresh, Sandbox
from protocol.errors import CodeError
from protocol.plan import Plan

_TO_END = 0.25  # of a turn, for ending its process: to free what it took can last a seventh of the time it had to take it


class Forks:
    """Processes of `plan`'s module, started when the first is needed.

    `one_patient`: each lives within `apart` only. `tell`: errors say what the module said, which may hold what it saw; only
    where no patient's data is. `hidden`: folders that no process may be able to read. `channels_last`: how images of the
    plan's own network lie in memory. Not for two threads at once.
    """

    def __init__(
        self, plan: Plan, *, one_patient: bool, channels_last: bool, hidden: Sequence[Path] = (), tell: bool = False
    ) -> None:
        self.one_patient, self.channels_last, self.tell = one_patient, channels_last, tell
        self.turn = 0.0
        """Seconds that each patient's turn takes, ending included; 0: as long as it takes, within the limits."""
        self._plan, self._hidden = plan.canonical.decode(), tuple(hidden)
        self._sandbox: Sandbox | None = None
        self._alive: list[Fresh] = []  # at most one
        self._ends: weakref.finalize[[list[Fresh], bool], Forks] | None = None
        self._seeds = SecureBits()
        self._seed: int | None = None
        self._until: float | None = None

    def seed(self, seed: int) -> None:
        """What is random in the processes begins again: in the one that lives, or from a stream of seeds in each patient's.

        For patients `seed` is a secret, and no seed tells its place in the stream: a module that knew its turn's number could
        make a patient who is missing visible in all who come later.
        """
        self._seeds = SecureBits.from_key(hashlib.sha256(f"fedward.turns/1 {seed}".encode()).digest())
        self._seed = seed

    def call(self, task: str, values: Mapping[str, Any], arrays: Mapping[str, Array], most_bytes: int) -> dict[str, Array]:
        """The arrays that come back, unchecked, of at most so many bytes. Raises CodeError; the process is ended then."""
        return self.ask(task, values, arrays, most_bytes)[1]

    def ask(
        self, task: str, values: Mapping[str, Any], arrays: Mapping[str, Array], most_bytes: int | None = None
    ) -> tuple[dict[str, Any], dict[str, Array]]:
        """The values and arrays that come back, unchecked. Raises CodeError; the process is ended then."""
        if not self._alive:
            if self.one_patient:
                raise CodeError("the plan's own module is asked outside of any patient's turn, or failed in it.")
            self._begin()
        given = dict(values)
        if self._seed is not None:
            given["seed"], self._seed = self._seed, None
        try:
            return self._alive[0].call(task, given, arrays, deadline=self._deadline(), most_bytes=most_bytes)
        except CodeError:
            self.renew()
            raise

    @contextmanager
    def apart(self) -> Iterator[None]:
        """One patient's turn. Where processes live longer, nothing changes."""
        if not self.one_patient:
            yield
            return
        start = time.monotonic()
        self._until = start + (1.0 - _TO_END) * self.turn if self.turn else None
        self._seed = int(self._seeds.words(1)[0]) >> 1
        try:
            self._begin()
            yield
        finally:
            self._until = None
            self.renew()
            time.sleep(max(0.0, start + self.turn - time.monotonic()))

    def renew(self) -> None:
        """End the process; the next call makes another, which knows nothing of this one."""
        _end(self._alive)

    def close(self) -> None:
        """End everything. A later call starts anew."""
        self.renew()
        if self._ends is not None:
            self._ends()
        self._sandbox = None

    def _begin(self) -> None:
        if self._sandbox is None:
            self._sandbox = borrow(self._hidden, tell=self.tell)
            self._ends = weakref.finalize(self, _finish, self._alive, self.tell)
        self._alive.append(self._sandbox.fresh())
        try:
            self._alive[0].call(
                "load",
                {"plan": self._plan, "channels_last": self.channels_last},
                {},
                deadline=self._deadline(),
                most_bytes=0,
            )
        except BaseException:
            self.renew()
            raise

    def _deadline(self) -> float:
        latest = time.monotonic() + LIMITS.call_seconds
        return latest if self._until is None else min(latest, self._until)


def _end(alive: list[Fresh]) -> None:
    while alive:
        with suppress(CodeError):  # it ended before it was told to
            alive.pop().close()


def _finish(alive: list[Fresh], tell: bool) -> None:
    _end(alive)
    give_back(tell=tell)
