"""What the aggregator asks of every silo besides training: describe yourself, make a model you keep, score a model.

Each function asks once, tells the observer who answered, and returns a record; nothing here is durable.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from aggregator.events import Observer, SiloAnswered, StepStarted
from aggregator.records import PhaseRecord, RosterRecord, ScoresRecord
from aggregator.replies import ask
from aggregator.steps import LocalPhase, ScoreModel
from evaluation.report.check import refuse_impossible
from evaluation.scoring import scored_classes
from protocol.errors import EvaluationError, UpdateError
from protocol.messages import (
    Address,
    Describe,
    Description,
    Done,
    Personalise,
    PrivateDescription,
    PrivateScores,
    Receipt,
    Score,
    Scores,
    TrainAlone,
)
from protocol.plan import Plan
from protocol.transport.base import Transport
from protocol.vectors import Vector, to_wire


@dataclass(frozen=True)
class Desk:
    """What every question needs: over what, about which plan, in the name of which job, and who watches."""

    transport: Transport
    plan: Plan
    job: str
    observe: Observer

    @property
    def private(self) -> bool:
        """Whether silos answer with private releases."""
        return self.plan.privacy.mechanism != "none"

    @property
    def deadline_s(self) -> float:
        """Seconds a silo has for one request."""
        return self.plan.federation.round_deadline_s

    def address(self, number: int, attempt: int = 0) -> Address:
        """Where a message of this job belongs."""
        return Address(self.job, self.plan.digest, number, attempt)

    def report_failures(self, step: str, failures: Mapping[str, str]) -> None:
        """Tell the observer which silos gave nothing, and why."""
        for silo, reason in failures.items():
            self.observe(SiloAnswered(step, silo, reason))


def ask_descriptions(desk: Desk, layout_digest: str, receipts: tuple[Receipt, ...]) -> RosterRecord:
    """What each silo brings to the plan; a silo that builds another network from it is left out.

    `receipts`: the newest of each silo, so that it can see whether its ledger was rolled back.
    """
    configured = desk.transport.silos
    desk.observe(StepStarted("describe", 0, configured))
    descriptions: dict[str, Description | PrivateDescription] = {}

    def accept(silo: str, description: Description | PrivateDescription) -> None:
        if description.layout_digest != layout_digest:
            raise UpdateError("the silo builds another network from this plan; run the same releases on both sides.")
        descriptions[silo] = description
        desk.observe(SiloAnswered("describe", silo, None))

    request = Describe(desk.address(0), desk.plan.canonical, receipts)
    kind: type[Description | PrivateDescription] = PrivateDescription if desk.private else Description
    failures = ask(desk.transport, request, configured, desk.deadline_s, kind, accept)
    desk.report_failures("describe", failures)
    return RosterRecord(configured, descriptions, failures)


def ask_local_models(desk: Desk, step: LocalPhase, silos: tuple[str, ...], final: Vector | None) -> PhaseRecord:
    """Let every silo make a model it keeps: alone, or personalised from the `final` vector."""
    rounds = desk.plan.federation.rounds
    desk.observe(StepStarted(step.kind, rounds, silos))
    seconds: dict[str, float] = {}

    def accept(silo: str, done: Done) -> None:
        seconds[silo] = done.seconds
        desk.observe(SiloAnswered(step.kind, silo, None))

    # The local-only baseline does the work of all rounds in one request.
    deadline = desk.deadline_s * (rounds if step.kind == "alone" else 1)
    request: TrainAlone | Personalise = TrainAlone(desk.address(rounds), deadline)
    if final is not None:
        request = Personalise(desk.address(rounds), deadline, to_wire(final))
    failures = ask(desk.transport, request, silos, deadline, Done, accept)
    desk.report_failures(step.kind, failures)
    return PhaseRecord(step.kind, seconds, failures)


def ask_scores(desk: Desk, step: ScoreModel, silos: tuple[str, ...], model: Vector | None) -> ScoresRecord:
    """Score one kind of model at every silo; `model` is the shared vector where the kind needs it."""
    name = f"{step.split} ({step.kind})"
    desk.observe(StepStarted(name, step.round, silos))
    scores: dict[str, Scores | PrivateScores] = {}
    wanted = len(scored_classes(len(desk.plan.task.classes)))

    def accept(silo: str, release: Scores | PrivateScores) -> None:
        if (release.kind, release.split) != (step.kind, step.split):
            raise UpdateError("the scores are of another model or part than was asked for.")
        if len(release.classes) != wanted:
            raise UpdateError(f"the scores are of {len(release.classes)} classes, those of this plan of {wanted}.")
        try:
            refuse_impossible("the scores", release)
        except EvaluationError as error:  # here, by name: later one hospital's word would leave no report at all
            raise UpdateError(str(error)) from error
        scores[silo] = release
        desk.observe(SiloAnswered(name, silo, None))

    with_alone = desk.plan.evaluation.alone and step.split == "test" and step.kind != "alone"
    wire = None if model is None else to_wire(model)
    request = Score(desk.address(step.round), step.kind, step.split, wire, with_alone)
    kind: type[Scores | PrivateScores] = PrivateScores if desk.private else Scores
    failures = ask(desk.transport, request, silos, desk.deadline_s, kind, accept)
    desk.report_failures(name, failures)
    return ScoresRecord(step.round, step.kind, step.split, time.time(), scores, failures)
