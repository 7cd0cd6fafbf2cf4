"""One scoring of which the aggregator learns the sum over hospitals: their counts, masked, and who is in it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from aggregator.events import StepStarted
from aggregator.journal import Journal
from aggregator.questions import Desk
from aggregator.records import ScoresRecord
from aggregator.secure.counts import Agreed, MaskedCounts, Opened
from aggregator.steps import ScoreModel, step_key
from evaluation.summed import AnySum, sum_of, vector_size
from privacy.secure_aggregation.agreement import propose
from protocol.messages import ScoreMasked
from protocol.secure_aggregation import Member, scores_purpose
from protocol.vectors import Vector, to_wire


class SummedScoring:
    """One step of the job: `run` it, remember the record, then `forget` what was kept for a resumption."""

    def __init__(self, desk: Desk, step: ScoreModel, journal: Journal, members: Sequence[Member]) -> None:
        self._desk, self._step, self._members = desk, step, tuple(members)
        self._purpose, self._name = scores_purpose(step.kind, step.split), f"{step.split} ({step.kind})"
        self._counts = MaskedCounts(desk, journal, step.round, self._purpose, self._name, step_key(step))

    def run(self, silos: tuple[str, ...], model: Vector | None, origin: Vector | None = None) -> ScoresRecord:
        """The sum and who is in it; or, with fewer than the threshold, why there is none. Nothing is revealed then.

        `origin` is what the silos made their own models from, if that was a shared one: they agree on it, it is not sent again.
        """
        step, plan = self._step, self._desk.plan
        self._desk.observe(StepStarted(self._name, step.round, silos))
        wire = None if model is None else to_wire(model)
        shown = wire if origin is None else to_wire(origin)
        manifest = propose(plan, self._desk.job, self._members, self._purpose, vector_size(plan), shown)

        def read(opened: Opened, survivors: tuple[str, ...]) -> AnySum:
            return sum_of(plan, opened, len(survivors))

        one = self._counts.run(silos, Agreed(manifest, lambda address: ScoreMasked(address, wire)), read)
        return ScoresRecord(
            round=step.round,
            kind=step.kind,
            split=step.split,
            at=time.time(),
            scores={},
            failures=one.failures,
            summed=one.found,
            survivors=one.survivors,
            unsummed=one.unsummed,
            receipts=one.receipts,
        )

    def forget(self) -> None:
        """Drop the kept sum: the record is durable."""
        self._counts.forget()
