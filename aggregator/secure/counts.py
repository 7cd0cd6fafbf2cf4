"""Counts of which the aggregator learns the sum over hospitals, of a scoring or of an audit: masked, and who is in the sum."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import msgspec
import numpy as np

from aggregator.journal import Journal
from aggregator.questions import Desk
from aggregator.secure.pending import Pending
from aggregator.secure.phases import Phases, Work
from privacy.secure_aggregation.masking import Unsigned
from privacy.secure_aggregation.server_state import ServerState
from protocol.errors import AggregationError, EvaluationError
from protocol.messages import Address, AuditMasked, MaskedScores, Receipt, ScoreMasked
from protocol.secure_aggregation import Manifest

_TRIES = 3  # a sum that fails is recorded and the job goes on, so one silo's hiccup should not cost the figure

T = TypeVar("T")
Opened = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Agreed:
    """What an attempt is made of: what all are shown first, and what is asked of everyone in the third phase.

    With `whole`, only the sum over just these silos is opened: over fewer, its difference from another sum would be theirs.
    """

    manifest: Manifest
    ask: Callable[[Address], ScoreMasked | AuditMasked]
    whole: frozenset[str] | None = None


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """`found`: what the sum over the `survivors` says, or None for the reason `unsummed`. `failures`: who fell out, and why."""

    found: T | None
    survivors: tuple[str, ...]
    failures: dict[str, str]
    receipts: dict[str, Receipt] = field(default_factory=dict)
    unsummed: str | None = None


class MaskedCounts:
    """One step of the job: `run` it, remember what came of it, then `forget` what was kept for a resumption.

    `name` is what people read, `key` the journal's name of the step.
    """

    def __init__(self, desk: Desk, journal: Journal, number: int, purpose: str, name: str, key: str) -> None:
        self._desk, self._journal, self._number, self._purpose = desk, journal, number, purpose
        self._pending = Pending(journal, journal.folder, purpose)
        self._name, self._key = name, f"secure/attempts/{key}"

    def run(self, silos: tuple[str, ...], agreed: Agreed, read: Callable[[Opened, tuple[str, ...]], T]) -> Outcome[T]:
        """The sum as `read` understands it; or, with fewer than the threshold, why there is none. Nothing is revealed then.

        `read` is given the opened sum and who is in it, and raises EvaluationError if it holds no counts.
        """
        outcome: Outcome[T] = Outcome(None, (), {})
        for _ in range(_TRIES):
            phases = self._phases()
            try:
                opened, survivors, receipts = self._attempt(phases, silos, agreed)
                found = read(opened, survivors)
            except (AggregationError, EvaluationError) as error:
                outcome = Outcome(None, (), dict(phases.failures), unsummed=f"{type(error).__name__}: {error}")
                if isinstance(error, EvaluationError):
                    break  # it was opened; the same counts go into no second sum
                continue
            return Outcome(found, survivors, dict(phases.failures), receipts)
        return outcome

    def forget(self) -> None:
        """Drop the kept sum: the record is durable."""
        self._pending.drop()

    def _attempt(
        self, phases: Phases, silos: tuple[str, ...], agreed: Agreed
    ) -> tuple[Opened, tuple[str, ...], dict[str, Receipt]]:
        """A fresh attempt, or another one to open the sum that is kept: silos open one, and repeat their word on that."""
        state, total, receipts = self._kept(phases) or self._collect(phases, silos, agreed)
        return phases.open(state, total), state.uploaded, receipts

    def _kept(self, phases: Phases) -> tuple[ServerState, Unsigned, dict[str, Receipt]] | None:
        kept = self._pending.of_round(self._number)
        if kept is None:
            return None
        state, total, known = kept
        phases.address = msgspec.structs.replace(phases.address, attempt=state.where.attempt)
        phases.failures.update(known.failures)
        return state, total, known.receipts

    def _collect(
        self, phases: Phases, silos: tuple[str, ...], agreed: Agreed
    ) -> tuple[ServerState, Unsigned, dict[str, Receipt]]:
        started = time.time()
        phases.address = address = msgspec.structs.replace(phases.address, attempt=self._next_attempt())
        state, total = phases.collect(agreed.manifest, silos, Work("scoring", agreed.ask(address), MaskedScores))
        if agreed.whole is not None and (missing := agreed.whole - set(state.uploaded)):
            raise AggregationError(
                f"{', '.join(sorted(missing))} sent no counts, and without them the sum is not opened: another one holds "
                "theirs, and the difference of the two would be what they sent."
            )
        self._pending.keep(state, total, phases.receipts, phases.failures, started)
        return state, total, phases.receipts

    def _phases(self) -> Phases:
        desk = self._desk
        address = msgspec.structs.replace(desk.address(self._number), purpose=self._purpose)
        return Phases(desk.transport, desk.plan, address, desk.observe, self._name)

    def _next_attempt(self) -> int:
        """Durable before a silo hears of it: silos take part in no attempt that is not later than their last."""
        number = self._journal.fact(self._key, int)
        self._journal.remember(self._key, attempt := 0 if number is None else number + 1)
        return attempt
