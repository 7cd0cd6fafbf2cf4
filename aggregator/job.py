"""The job: drives the state machine, one durable step after the other, over any transport."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np

from aggregator.events import JobOpened, Observer, PhaseDone, RoundCommitted, Scored, StepStarted
from aggregator.journal import Journal
from aggregator.questions import Desk, ask_descriptions, ask_local_models, ask_scores
from aggregator.records import RosterRecord, ScoresRecord
from aggregator.replies import named
from aggregator.rounds import run_round
from aggregator.steps import LocalPhase, Progress, ScoreModel, Step, TrainRound, next_step, step_key
from aggregator.strategies import build_strategy
from protocol.errors import JournalError, QuorumError, UpdateError
from protocol.messages import Description
from protocol.network import build_network, personal_names, shared_layout, tensors_of
from protocol.plan import Plan
from protocol.transport.base import Transport
from protocol.vectors import Vector


class Job:
    """One plan over one transport, remembered in `folder`. Opening an existing folder continues where it stopped."""

    def __init__(
        self,
        plan: Plan,
        transport: Transport,
        folder: Path,
        observe: Observer,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.plan, self._transport, self._observe = plan, transport, observe
        self.journal = Journal(folder)
        try:
            self.name = self._claim(environment or {})
        except JournalError:
            self.journal.close()
            raise
        self._desk = Desk(transport, plan, self.name, observe)
        network = build_network(plan)
        personal = personal_names(network, plan.federation.personal, len(plan.task.classes))
        self.layout = shared_layout(network, personal)
        self._initial = self.layout.flatten(tensors_of(network))
        self._strategy = build_strategy(plan.federation.strategy)

    def _claim(self, environment: Mapping[str, str]) -> str:
        """Write plan and roster on the first opening; compare them on every later one."""
        known = self.journal.bytes("plan")
        if known is None:
            job = f"{self.plan.name}-{secrets.token_hex(4)}"
            self.journal.remember_all(
                {"job": job.encode(), "plan": self.plan.canonical, "environment": dict(environment),
                 "silos": list(self._transport.silos), "created_at": time.time()}
            )  # fmt: skip
        elif known != self.plan.canonical:
            raise JournalError("this folder holds a job with another plan. A changed plan is a new job: choose another --out.")
        elif (silos := self.journal.fact("silos", list[str])) != list(self._transport.silos):
            raise JournalError(
                f"this folder holds a job with the silos {', '.join(silos or [])}; name the same, in that order."
            )
        return (self.journal.bytes("job") or b"").decode()

    # ------------------------------------------------------------------------------------------------------------ driving

    def run(self) -> None:
        """Run to the end. Raises QuorumError if a round fails; everything committed before is kept."""
        roster = self._describe()
        records = self.journal.rounds()
        self._observe(JobOpened(self.name, self.plan, roster, len(records)))
        for record in records:
            self._observe(RoundCommitted(record, replayed=True))
        for scores in self.scores():
            self._observe(Scored(scores, replayed=True))
        validate = any(description.n_validation for description in roster.descriptions.values())
        model: Vector = self._initial
        state: Mapping[str, Vector] = {}
        if records:
            model, state = self.journal.model(records[-1])
        committed = len(records)
        while (step := next_step(self.plan, Progress(committed, self.journal.keys()), validate=validate)) is not None:
            if not isinstance(step, TrainRound):
                self._closing(step, roster)
                continue
            model, state = self._round(step, roster, model, state)
            committed = step.number

    def _describe(self) -> RosterRecord:
        """Ask every silo what it brings. Raises QuorumError if too few can take part, JournalError if a cohort changed."""
        roster = ask_descriptions(self._desk, self.layout.digest)
        digests = self.journal.fact("store_digests", dict[str, str]) or {}
        for silo, description in roster.descriptions.items():
            if digests.setdefault(silo, description.store_digest) != description.store_digest:
                raise JournalError(
                    f"the cohort of {silo} changed since this job began; start a new job in another --out folder."
                )
        if len(roster.descriptions) < self.plan.federation.quorum:
            raise QuorumError(
                f"{len(roster.descriptions)} of {len(roster.configured)} silos can take part, the plan's quorum is "
                f"{self.plan.federation.quorum}:\n{named(roster.failures)}"
            )
        self.journal.remember_all({"roster": roster, "store_digests": digests})
        return roster

    def _round(
        self, step: TrainRound, roster: RosterRecord, model: Vector, state: Mapping[str, Vector]
    ) -> tuple[Vector, Mapping[str, Vector]]:
        attempt = self.journal.begin(step.number)
        silos = tuple(roster.descriptions)
        self._observe(StepStarted(f"round {step.number}", step.number, silos))
        address = self._desk.address(step.number, attempt)
        try:
            result = run_round(self._transport, self.plan, address, silos, model, state, self._strategy, self._observe)
        except (QuorumError, UpdateError) as error:
            self.journal.fail(step.number, attempt, str(error))
            raise
        record = msgspec.structs.replace(
            result.record, configured=roster.configured, failures={**roster.failures, **result.record.failures}
        )
        self.journal.commit(record, result.model, result.state, keep=self.plan.federation.average_last)
        self._observe(RoundCommitted(record))
        return result.model, result.state

    def _closing(self, step: Step, roster: RosterRecord) -> None:
        silos = tuple(roster.descriptions)
        if isinstance(step, LocalPhase):
            final = self.final_model() if step.kind == "personalised" else None
            record = ask_local_models(self._desk, step, silos, final)
            self.journal.remember(step_key(step), record)
            self._observe(PhaseDone(record))
        elif isinstance(step, ScoreModel):
            having = tuple(silo for silo in silos if _n(roster.descriptions[silo], step.split))
            scores = ask_scores(self._desk, step, having, self._scored_model(step))
            self.journal.remember(step_key(step), scores)
            self._observe(Scored(scores))

    def _scored_model(self, step: ScoreModel) -> Vector | None:
        """The shared vector that the silos need to score this kind of model; None for one they keep themselves."""
        mixed = step.kind == "personalised" and self.plan.evaluation.personalise == "mix"
        if step.kind != "federated" and not mixed:
            return None
        if step.round == self.plan.federation.rounds:
            return self.final_model()
        return self.journal.model(self.journal.rounds()[step.round - 1])[0]

    # ------------------------------------------------------------------------------------------------------------ results

    def scores(self) -> list[ScoresRecord]:
        """Every scoring done so far, in order."""
        keys = sorted(key for key in self.journal.keys() if key.startswith("scores/"))  # noqa: SIM118 - not a mapping
        return [record for key in keys if (record := self.journal.fact(key, ScoresRecord)) is not None]

    def final_model(self) -> Vector:
        """The mean of the last `average_last` global vectors. Raises JournalError before the last round."""
        records = self.journal.rounds()
        if len(records) < self.plan.federation.rounds:
            raise JournalError(
                f"{len(records)} of {self.plan.federation.rounds} rounds are committed; there is no final model."
            )
        last = records[-self.plan.federation.average_last :]
        if len(last) == 1:
            return self.journal.model(last[0])[0]
        total = np.zeros(self.layout.size, dtype=np.float64)
        for record in last:
            total += self.journal.model(record)[0]
        return (total / len(last)).astype(np.float32)


def _n(description: Description, split: str) -> int:
    return description.n_validation if split == "validation" else description.n_test
