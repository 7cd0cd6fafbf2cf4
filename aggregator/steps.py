"""The job as a pure state machine: from what is durable follows what comes next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from protocol.plan import Plan

Kind = Literal["federated", "recalibrated", "alone", "personalised"]


@dataclass(frozen=True, slots=True)
class TrainRound:
    """Broadcast, train, aggregate, commit."""

    number: int


@dataclass(frozen=True, slots=True)
class ScoreModel:
    """Score one kind of model on one part at every silo."""

    round: int
    kind: Kind
    split: Literal["validation", "test"]


@dataclass(frozen=True, slots=True)
class AuditModel:
    """Break the final model's test down by group."""

    round: int


@dataclass(frozen=True, slots=True)
class JudgeRound:
    """Let the guard compare a round's validation with the last good one."""

    round: int


@dataclass(frozen=True, slots=True)
class LocalPhase:
    """Let every silo make a model it keeps."""

    kind: Literal["alone", "personalised"]


@dataclass(frozen=True, slots=True)
class CloseJob:
    """Collect what the silos signed, and have them sign that nothing is missing."""


Step = TrainRound | ScoreModel | AuditModel | JudgeRound | LocalPhase | CloseJob


@dataclass(frozen=True, slots=True)
class Progress:
    """What is durable: rounds committed and the names of the steps done since (`step_key`)."""

    committed: int
    done: frozenset[str]


def step_key(step: ScoreModel | AuditModel | JudgeRound | LocalPhase | CloseJob) -> str:
    """The journal's name for a step that is not a round."""
    if isinstance(step, JudgeRound):
        return f"verdict/{step.round:05d}"
    if isinstance(step, LocalPhase):
        return f"phase/{step.kind}"
    if isinstance(step, AuditModel):
        return f"audit/{step.round:05d}"
    if isinstance(step, CloseJob):
        return "evidence/closed"
    return f"scores/{step.round:05d}/{step.kind}/{step.split}"


def next_step(plan: Plan, progress: Progress, *, validate: bool) -> Step | None:
    """The first step that is not durable yet; None when the job is complete.

    `validate`: whether any silo has validation patients. A committed round is validated, and the validation judged if the plan
    has a guard for it, before the next one begins, so a job that was killed in between repeats none of them.
    """
    rounds, committed = plan.federation.rounds, progress.committed
    due = committed % plan.evaluation.every == 0 or committed == rounds
    if validate and committed and due:
        after: list[ScoreModel | JudgeRound] = [ScoreModel(committed, "federated", "validation")]
        if plan.federation.guard.max_validation_drop is not None:
            after.append(JudgeRound(committed))
        if todo := [step for step in after if step_key(step) not in progress.done]:
            return todo[0]
    if committed < rounds:
        return TrainRound(committed + 1)
    return next((step for step in _closing(plan) if step_key(step) not in progress.done), None)


def _closing(plan: Plan) -> list[ScoreModel | AuditModel | LocalPhase | CloseJob]:
    """After the last round: the models hospitals keep, the test, the audit of it, whose bins follow from it, the evidence."""
    steps: list[ScoreModel | AuditModel | LocalPhase] = []
    kinds: list[Kind] = ["federated"]
    if plan.evaluation.recalibrate != "none":
        kinds.append("recalibrated")
    if plan.evaluation.alone:
        steps.append(LocalPhase("alone"))
        kinds.append("alone")
    if plan.evaluation.personalise == "fine_tune":
        steps.append(LocalPhase("personalised"))
    if plan.evaluation.personalise != "none":
        kinds.append("personalised")
    rounds = plan.federation.rounds
    test: list[ScoreModel | AuditModel] = [ScoreModel(rounds, kind, "test") for kind in kinds]
    if plan.evaluation.audit is not None:
        test.insert(1, AuditModel(rounds))
    return [*steps, *test, CloseJob()]
