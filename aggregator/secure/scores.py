"""One scoring of which the aggregator learns the sum over hospitals: their counts, masked, and who is in it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from aggregator.events import StepStarted
from aggregator.journal import Journal
from aggregator.questions import Desk
from aggregator.records import ScoresRecord
from aggregator.secure.pending import Pending
from aggregator.secure.phases import Phases, Work
from aggregator.steps import ScoreModel, step_key
from evaluation.summed import sum_of, vector_size
from privacy.secure_aggregation.agreement import propose
from privacy.secure_aggregation.masking import Unsigned
from privacy.secure_aggregation.server_state import ServerState
from protocol.errors import AggregationError, EvaluationError
from protocol.messages import MaskedScores, Receipt, ScoreMasked
from protocol.secure_aggregation import Member, scores_purpose
from protocol.vectors import Vector, to_wire

_TRIES = 3  # a scoring that fails is recorded and the job goes on, so one silo's hiccup should not cost the figure


class SummedScoring:
    """One step of the job: `run` it, remember the record, then `forget` what was kept for a resumption."""

    def __init__(self, desk: Desk, step: ScoreModel, journal: Journal, members: Sequence[Member]) -> None:
        self._desk, self._step, self._journal, self._members = desk, step, journal, tuple(members)
        self._purpose = scores_purpose(step.kind, step.split)
        self._pending = Pending(journal, journal.folder, self._purpose)
        self._name = f"{step.split} ({step.kind})"

    def run(self, silos: tuple[str, ...], model: Vector | None, origin: Vector | None = None) -> ScoresRecord:
        """The sum and who is in it; or, with fewer than the threshold, why there is none. Nothing is revealed then.

        `origin` is what the silos made their own models from, if that was a shared one: they agree on it, it is not sent again.
        """
        step = self._step
        self._desk.observe(StepStarted(self._name, step.round, silos))
        record = ScoresRecord(step.round, step.kind, step.split, time.time(), {}, {})
        for _ in range(_TRIES):
            phases = self._phases(0)
            try:
                opened, survivors, receipts = self._attempt(phases, silos, model, origin)
                found = sum_of(self._desk.plan, opened, len(survivors))
            except (AggregationError, EvaluationError) as error:
                why = f"{type(error).__name__}: {error}"
                record = msgspec.structs.replace(record, failures=dict(phases.failures), unsummed=why)
                if isinstance(error, EvaluationError):
                    break  # it was opened; the same counts go into no second sum
                continue
            changes = {"summed": found, "survivors": survivors, "receipts": receipts, "unsummed": None}
            return msgspec.structs.replace(record, at=time.time(), failures=dict(phases.failures), **changes)
        return record

    def forget(self) -> None:
        """Drop the kept sum: the record is durable."""
        self._pending.drop()

    def _attempt(
        self, phases: Phases, silos: tuple[str, ...], model: Vector | None, origin: Vector | None
    ) -> tuple[np.ndarray[Any, np.dtype[Any]], tuple[str, ...], dict[str, Receipt]]:
        """A fresh attempt, or another one to open the sum that is kept: silos open one, and repeat their word on that."""
        state, total, receipts = self._kept(phases) or self._collect(phases, silos, model, origin)
        return phases.open(state, total), state.uploaded, receipts

    def _kept(self, phases: Phases) -> tuple[ServerState, Unsigned, dict[str, Receipt]] | None:
        kept = self._pending.of_round(self._step.round)
        if kept is None:
            return None
        state, total, known = kept
        phases.address = msgspec.structs.replace(phases.address, attempt=state.where.attempt)
        phases.failures.update(known.failures)
        return state, total, known.receipts

    def _collect(
        self, phases: Phases, silos: tuple[str, ...], model: Vector | None, origin: Vector | None
    ) -> tuple[ServerState, Unsigned, dict[str, Receipt]]:
        plan, started = self._desk.plan, time.time()
        wire = None if model is None else to_wire(model)
        agreed = wire if origin is None else to_wire(origin)
        manifest = propose(plan, self._desk.job, self._members, self._purpose, vector_size(plan), agreed)
        phases.address = address = msgspec.structs.replace(phases.address, attempt=self._next_attempt())
        state, total = phases.collect(manifest, silos, Work("scoring", ScoreMasked(address, wire), MaskedScores))
        self._pending.keep(state, total, phases.receipts, phases.failures, started)
        return state, total, phases.receipts

    def _phases(self, attempt: int) -> Phases:
        desk = self._desk
        address = msgspec.structs.replace(desk.address(self._step.round, attempt), purpose=self._purpose)
        return Phases(desk.transport, desk.plan, address, desk.observe, self._name)

    def _next_attempt(self) -> int:
        """Durable before a silo hears of it: silos take part in no attempt that is not later than their last."""
        key = f"secure/attempts/{step_key(self._step)}"
        number = self._journal.fact(key, int)
        self._journal.remember(key, attempt := 0 if number is None else number + 1)
        return attempt
