"""The audit of the final model: the test broken down by group, from what silos answer one by one or from one opened sum."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec
import numpy as np

from aggregator.events import SiloAnswered, StepStarted
from aggregator.journal import Journal
from aggregator.questions import Desk
from aggregator.records import AuditRecord, ScoresRecord
from aggregator.replies import ask, named
from aggregator.secure.counts import Agreed, MaskedCounts, Opened
from aggregator.steps import AuditModel, step_key
from evaluation.audit.edges import choose_edges
from evaluation.audit.layout import AuditLayout, Counts
from evaluation.audit.sums import added, check_counts, from_wire, own_layout
from evaluation.summed import ExactSum
from privacy.secure_aggregation.agreement import propose
from protocol.errors import EvaluationError, UpdateError
from protocol.messages import Audit, AuditCounts, AuditMasked, Edges, Receipt, Scores
from protocol.secure_aggregation import AUDIT, Member
from protocol.vectors import Vector, to_wire

NAME = "audit"


class ModelAudit:
    """One step of the job: `run` it, remember the record, then `forget` what was kept for a resumption."""

    def __init__(self, desk: Desk, step: AuditModel, layout: AuditLayout, journal: Journal, members: Sequence[Member]) -> None:
        self._desk, self._step, self._layout, self._members = desk, step, layout, tuple(members)
        self._masked = MaskedCounts(desk, journal, step.round, AUDIT, NAME, step_key(step))

    def run(self, silos: tuple[str, ...], model: Vector, test: ScoresRecord | None) -> AuditRecord:
        """The sum over the hospitals that could; `test` is the scoring of the same model, from which the bins follow.

        A job goes on without an audit: then the record says why there is none.
        """
        self._desk.observe(StepStarted(NAME, self._step.round, silos))
        try:
            edges = edges_after(self._layout, test)
        except EvaluationError as error:
            return self._none(f"EvaluationError: {error}")
        secure = self._desk.plan.privacy.secure_aggregation
        if not secure:
            return self._singly(silos, model, edges)
        # Where nothing but sums may be known, the audit is of the very hospitals in the sum of the test, or there is none.
        whole = test.survivors if test is not None and test.survivors and not self._layout.private else ()
        return self._summed(whole or silos, model, edges, frozenset(whole) or None)

    def forget(self) -> None:
        """Drop the kept sum: the record is durable."""
        self._masked.forget()

    def _none(self, why: str) -> AuditRecord:
        return AuditRecord(self._step.round, time.time(), (), (), (), {}, why)

    def _summed(self, silos: tuple[str, ...], model: Vector, edges: Edges, whole: frozenset[str] | None) -> AuditRecord:
        desk, layout, wire = self._desk, self._layout, to_wire(model)
        manifest = propose(desk.plan, desk.job, self._members, AUDIT, layout.size, wire, edges)

        def read(opened: Opened, survivors: tuple[str, ...]) -> tuple[int, ...]:
            try:
                check_counts(layout, opened, survivors)
            except EvaluationError as error:
                raise EvaluationError(
                    f"the sum holds no counts of images by group: {error} A hospital sent something else, and a sum does not "
                    "say which. Leave hospitals out one by one, or audit without privacy.secure_aggregation."
                ) from error
            return tuple(int(count) for count in opened)

        agreed = Agreed(manifest, lambda address: AuditMasked(address, wire, edges), whole)
        one = self._masked.run(silos, agreed, read)
        return AuditRecord(
            round=self._step.round,
            at=time.time(),
            edges=edges,
            counts=one.found or (),
            sites=one.survivors,
            failures=one.failures,
            unsummed=one.unsummed,
            receipts=one.receipts,
        )

    def _singly(self, silos: tuple[str, ...], model: Vector, edges: Edges) -> AuditRecord:
        desk, layout, quorum = self._desk, self._layout, self._desk.plan.federation.quorum
        found: dict[str, Counts] = {}
        receipts: dict[str, Receipt] = {}

        def accept(silo: str, reply: AuditCounts) -> None:
            own = own_layout(layout, silo)
            try:
                vector = from_wire(own, reply.counts)
                check_counts(own, vector, own.sites)
            except EvaluationError as error:  # here, by name: in the sum nobody could tell whose counts they were
                raise UpdateError(f"what the silo sent are no counts of images by group: {error}") from error
            found[silo] = vector
            if reply.receipt is not None:
                receipts[silo] = reply.receipt
            desk.observe(SiloAnswered(NAME, silo, None))

        address = msgspec.structs.replace(desk.address(self._step.round), purpose=AUDIT)
        request = Audit(address, to_wire(model), edges)
        failures = ask(desk.transport, request, silos, desk.deadline_s, AuditCounts, accept)
        desk.report_failures(NAME, failures)
        record = AuditRecord(self._step.round, time.time(), edges, (), (), failures, receipts=receipts)
        if len(found) < quorum:
            why = f"{len(found)} of {len(silos)} hospitals answered the audit, the plan's quorum is {quorum}."
            return msgspec.structs.replace(
                record, unsummed=f"QuorumError: {why}" + (f"\n{named(failures)}" if failures else "")
            )
        counts = tuple(int(count) for count in added(layout, found))
        return msgspec.structs.replace(record, counts=counts, sites=tuple(silo for silo in silos if silo in found))


def edges_after(layout: AuditLayout, test: ScoresRecord | None) -> Edges:
    """The edges of every scored class from the pooled test histograms; fixed ones under privacy. Raises EvaluationError."""
    pooled: list[tuple[Counts, Counts]] = []
    if not layout.private:
        pooled = [] if test is None else _pooled(test)
        if not pooled:
            why = "" if test is None or test.unsummed is None else f" ({test.unsummed})"
            raise EvaluationError(
                f"the final model was scored nowhere, so nothing says where to cut its scores into bins{why}."
            )
    return tuple(tuple(float(edge) for edge in one) for one in choose_edges(layout, pooled))


def _pooled(test: ScoresRecord) -> list[tuple[Counts, Counts]]:
    """(positive, negative) counts of each class over all hospitals; empty if none was scored."""
    if isinstance(test.summed, ExactSum):
        return [(np.array(one.positive), np.array(one.negative)) for one in test.summed.classes]
    exact = [one for one in test.scores.values() if isinstance(one, Scores)]
    return [
        (
            np.sum([one.histogram_positive for one in of_class], axis=0),
            np.sum([one.histogram_negative for one in of_class], axis=0),
        )
        for of_class in zip(*(one.classes for one in exact), strict=True)
    ]
