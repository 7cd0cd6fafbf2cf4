"""The job: drives the state machine, one durable step after the other, over any transport."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from aggregator.events import JobOpened, Observer, PhaseDone, RoundCommitted, Scored, StepStarted
from aggregator.journal import Journal
from aggregator.questions import Desk, ask_descriptions, ask_local_models, ask_scores
from aggregator.records import RosterRecord, RoundRecord, ScoresRecord
from aggregator.replies import named
from aggregator.rounds import run_round
from aggregator.steps import LocalPhase, Progress, ScoreModel, Step, TrainRound, next_step, step_key
from aggregator.strategies import build_strategy
from privacy.guarantee import score_releases
from protocol.errors import JournalError, QuorumError, UpdateError
from protocol.messages import Description, PrivateDescription, PrivateScores, Receipt
from protocol.network import build_network, tensors_of
from protocol.parts import personal_names, shared_layout
from protocol.plan import Plan
from protocol.transport.base import Transport
from protocol.vectors import Vector

_EMA = "ema"  # the strategy's state has other names


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
        travelling = {name for name, _ in self.layout.entries} | personal
        self._still = {name: value for name, value in tensors_of(network).items() if name not in travelling}
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
        validate = any(_may_have(description, "validation", self.plan) for description in roster.descriptions.values())
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
        roster = ask_descriptions(self._desk, self.layout.digest, self._receipts())
        digests = self.journal.fact("store_digests", dict[str, str]) or {}
        for silo, description in roster.descriptions.items():
            if digests.setdefault(silo, cohort := _cohort(description)) != cohort:
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
        after = self._averaged(result.model, result.state, state)
        record = msgspec.structs.replace(
            result.record, configured=roster.configured, failures={**roster.failures, **result.record.failures}
        )
        self.journal.commit(record, result.model, after, keep=self.plan.federation.average_last)
        self._observe(RoundCommitted(record))
        return result.model, after

    def _averaged(self, model: Vector, after: Mapping[str, Vector], before: Mapping[str, Vector]) -> Mapping[str, Vector]:
        """The strategy's state with the moving average of the global models, if the plan wants one; it begins at the first."""
        decay = self.plan.federation.ema
        if decay is None:
            return after
        return {**after, _EMA: np.float32(decay) * before.get(_EMA, model) + np.float32(1.0 - decay) * model}

    def _model_of(self, record: RoundRecord) -> Vector:
        """What is scored and kept of a round: the moving average if the plan wants one, else the global model itself."""
        model, state = self.journal.model(record)
        return state[_EMA] if self.plan.federation.ema is not None else model

    def _receipts(self) -> tuple[Receipt, ...]:
        """The newest receipt of each silo."""
        newest: dict[str, Receipt] = {}
        for record in self.journal.rounds():
            newest |= record.receipts
        for scores in self.scores():
            for silo, one in scores.scores.items():
                if isinstance(one, PrivateScores) and (silo not in newest or one.receipt.entries > newest[silo].entries):
                    newest[silo] = one.receipt
        return tuple(newest.values())

    def _closing(self, step: Step, roster: RosterRecord) -> None:
        silos = tuple(roster.descriptions)
        if isinstance(step, LocalPhase):
            final = self.final_model() if step.kind == "personalised" else None
            record = ask_local_models(self._desk, step, silos, final)
            self.journal.remember(step_key(step), record)
            self._observe(PhaseDone(record))
        elif isinstance(step, ScoreModel):
            having = tuple(silo for silo in silos if _may_have(roster.descriptions[silo], step.split, self.plan))
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
        return self._model_of(self.journal.rounds()[step.round - 1])

    # ------------------------------------------------------------------------------------------------------------ results

    def scores(self) -> list[ScoresRecord]:
        """Every scoring done so far, in order."""
        keys = sorted(key for key in self.journal.keys() if key.startswith("scores/"))  # noqa: SIM118 - not a mapping
        return [record for key in keys if (record := self.journal.fact(key, ScoresRecord)) is not None]

    def model_tensors(self, vector: Vector) -> dict[str, np.ndarray[Any, Any]]:
        """`vector` as the tensors of the network, with those that never change; personal parts are not among them."""
        return self._still | dict(self.layout.unflatten(vector))

    def final_model(self) -> Vector:
        """The mean of the last `average_last` global vectors, or their moving average.

        Raises JournalError before the last round.
        """
        records = self.journal.rounds()
        if len(records) < self.plan.federation.rounds:
            raise JournalError(
                f"{len(records)} of {self.plan.federation.rounds} rounds are committed; there is no final model."
            )
        last = records[-self.plan.federation.average_last :]
        if len(last) == 1:
            return self._model_of(last[0])
        total = np.zeros(self.layout.size, dtype=np.float64)
        for record in last:
            total += self.journal.model(record)[0]
        return (total / len(last)).astype(np.float32)


def _may_have(description: Description | PrivateDescription, split: str, plan: Plan) -> bool:
    """Whether to ask this silo for scores on `split`. A private silo never says what it has; it always answers."""
    if isinstance(description, PrivateDescription):
        return score_releases(plan)[split] > 0
    return bool(description.n_validation if split == "validation" else description.n_test)


def _cohort(description: Description | PrivateDescription) -> str:
    """What tells one version of a cohort from another."""
    return description.cohort if isinstance(description, PrivateDescription) else description.store_digest
