"""The job: drives the state machine, one durable step after the other, over any transport."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from aggregator.events import JobOpened, Observer, PhaseDone, RoundCommitted, Scored, StepStarted
from aggregator.guard import bear, judge, keep_files, last_good, refused_norm
from aggregator.history import History
from aggregator.journal import Journal
from aggregator.questions import Desk, ask_descriptions, ask_local_models, ask_scores
from aggregator.records import RosterRecord, RoundRecord, ScoresRecord
from aggregator.replies import named
from aggregator.rounds import RoundResult, run_round
from aggregator.secure import Pending, run_secure_round
from aggregator.steps import JudgeRound, LocalPhase, Progress, ScoreModel, Step, TrainRound, next_step, step_key
from aggregator.strategies import State, build_strategy
from privacy.guarantee import score_releases
from protocol.errors import BudgetError, FederationError, JournalError, QuorumError, UpdateError
from protocol.messages import Description, PrivateDescription
from protocol.network import build_network, tensors_of
from protocol.parts import personal_names, shared_layout
from protocol.plan import Plan
from protocol.secure_aggregation import Member
from protocol.transport.base import Transport
from protocol.vectors import Vector, vector_digest

_PRIVACY = frozenset({"BudgetError", "PolicyError", "LedgerError", "LedgerRolledBackError"})
_EMA = "ema"  # the strategy's state has other names


class Job:
    """One plan over one transport, remembered in `folder`. Opening an existing folder continues where it stopped.

    `members` are all silos with their public keys, in the transport's order; secure aggregation needs them.
    """

    def __init__(
        self,
        plan: Plan,
        transport: Transport,
        folder: Path,
        observe: Observer,
        environment: Mapping[str, str] | None = None,
        members: Sequence[Member] = (),
    ) -> None:
        self.plan, self._transport, self._observe, self._members = plan, transport, observe, tuple(members)
        self.journal = Journal(folder)
        self.history, self._pending = History(self.journal), Pending(self.journal, folder)
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
        """Run to the end. Everything committed before an error is kept.

        Raises QuorumError if a round fails, PoisonedError if the guard rejects more in a row than the plan bears.
        """
        roster = self._describe()
        records = self.rounds()
        self._observe(JobOpened(self.name, self.plan, roster, len(records)))
        for record in records:
            self._observe(RoundCommitted(record, replayed=True))
        for scores in self.scores():
            self._observe(Scored(scores, replayed=True))
        validate = any(_may_have(description, "validation", self.plan) for description in roster.descriptions.values())
        self._refuse_blind_guard(validate=validate)
        model, state = self.history.now() or (self._initial, {})
        committed = len(records)
        while (step := next_step(self.plan, Progress(committed, self.journal.keys()), validate=validate)) is not None:
            if isinstance(step, TrainRound):
                self._bear()
                model, state = self._round(step, roster, model, state)
                committed = step.number
            elif isinstance(step, JudgeRound):
                self._judge(step)
                model, state = self.history.now() or (model, state)
            else:
                self._bear()
                self._closing(step, roster)

    def _describe(self) -> RosterRecord:
        """Ask every silo what it brings. Raises QuorumError if too few can take part, JournalError if a cohort changed."""
        roster = ask_descriptions(self._desk, self.layout.digest, self.history.receipts())
        digests = self.journal.fact("store_digests", dict[str, str]) or {}
        for silo, description in roster.descriptions.items():
            if digests.setdefault(silo, cohort := _cohort(description)) != cohort:
                raise JournalError(
                    f"the cohort of {silo} changed since this job began; start a new job in another --out folder."
                )
        if len(roster.descriptions) < self.plan.federation.quorum:
            refused = {reason.split(":", 1)[0] for reason in roster.failures.values()}
            if not roster.descriptions and refused <= _PRIVACY:
                raise BudgetError(f"no hospital can take part, nothing was charged:\n{named(roster.failures)}")
            raise QuorumError(
                f"{len(roster.descriptions)} of {len(roster.configured)} silos can take part, the plan's quorum is "
                f"{self.plan.federation.quorum}:\n{named(roster.failures)}"
            )
        self.journal.remember_all({"roster": roster, "store_digests": digests})
        return roster

    def _round(self, step: TrainRound, roster: RosterRecord, model: Vector, state: State) -> tuple[Vector, State]:
        secure = self.plan.privacy.secure_aggregation
        stopped = self._pending.of_round(step.number) if secure else None
        attempt = self.journal.begin(step.number) if stopped is None else stopped[0].where.attempt
        silos = tuple(roster.descriptions)
        self._observe(StepStarted(f"round {step.number}", step.number, silos))
        address = self._desk.address(step.number, attempt)
        try:
            going = (silos, model, state, self._strategy, self._observe)
            if secure:
                result = run_secure_round(self._transport, self.plan, address, *going, self._members, self._pending)
            else:
                result = run_round(self._transport, self.plan, address, *going)
            result = self._guarded(result, model, state)
        except (QuorumError, UpdateError) as error:
            self.journal.fail(step.number, attempt, str(error))
            raise
        record = msgspec.structs.replace(
            result.record, configured=roster.configured, failures={**roster.failures, **result.record.failures}
        )
        keep = keep_files(self.plan, step.number, self.history.verdicts())
        self.journal.commit(record, result.model, result.state, keep=keep)
        if secure:
            self._pending.drop()
        self._observe(RoundCommitted(record))
        return result.model, result.state

    def _guarded(self, result: RoundResult, model: Vector, state: State) -> RoundResult:
        """The round as it is committed: with the moving average, or with what was before it if the guard refuses its norm.

        Raises UpdateError if it stands and is not finite.
        """
        guard, record = self.plan.federation.guard, result.record
        before = () if guard.max_norm_ratio is None else self.rounds()
        if (reason := refused_norm(guard, record.update_norm, before)) is not None:
            changes = {"aggregated": (), "rejected": reason, "model_digest": vector_digest(model)}
            return RoundResult(model, state, msgspec.structs.replace(record, **changes))
        if not np.isfinite(result.model).all():
            raise UpdateError(
                f"round {record.round}: the new global model holds values that are not finite; it was not kept. Lower the "
                "learning rates, or bound the updates with federation.norm_bound."
            )
        return RoundResult(result.model, self._averaged(result.model, result.state, state), record)

    def _judge(self, step: JudgeRound) -> None:
        """Compare a validation with the last good one; what is decided is durable before anything follows from it."""
        scores = {one.round: one for one in self.scores() if one.split == "validation"}
        good = last_good(self.history.verdicts())
        verdict = judge(self.plan.federation.guard, scores[step.round], None if good is None else scores[good])
        self.journal.remember(step_key(step), verdict)
        if verdict.back_to is not None:
            for record in self.rounds()[verdict.back_to :]:
                self._observe(RoundCommitted(record))

    def _bear(self) -> None:
        """Raise PoisonedError if the guard rejected more in a row than the plan bears."""
        if self.plan.federation.guard.active:
            bear(self.plan.federation.guard, self.journal.rounds(), self.history.verdicts())

    def _refuse_blind_guard(self, *, validate: bool) -> None:
        if self.plan.federation.guard.max_validation_drop is not None and not validate:
            raise FederationError(
                "federation.guard.max_validation_drop compares validations, but no silo has validation patients. Raise "
                "data.split.validation_fraction, or leave the key out."
            )

    def _averaged(self, model: Vector, after: State, before: State) -> State:
        """The strategy's state with the moving average of the global models, if the plan wants one; it begins at the first."""
        decay = self.plan.federation.ema
        if decay is None:
            return after
        return {**after, _EMA: np.float32(decay) * before.get(_EMA, model) + np.float32(1.0 - decay) * model}

    def _model_of(self, number: int) -> Vector:
        """What is scored and kept of a round: the moving average if the plan wants one, else the global model itself."""
        model, state = self.history.after(number)
        return state[_EMA] if self.plan.federation.ema is not None else model

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
        return self._model_of(step.round)

    # ------------------------------------------------------------------------------------------------------------ results

    def scores(self) -> list[ScoresRecord]:
        """Every scoring done so far, in order."""
        return self.history.scores()

    def rounds(self) -> tuple[RoundRecord, ...]:
        """Every committed round as it reads today, in order: those that a later validation rejected say so."""
        return self.history.rounds()

    def model_tensors(self, vector: Vector) -> dict[str, np.ndarray[Any, Any]]:
        """`vector` as the tensors of the network, with those that never change; personal parts are not among them."""
        return self._still | dict(self.layout.unflatten(vector))

    def final_model(self) -> Vector:
        """The mean of the last `average_last` global vectors, or their moving average; for a rejected one the last good one.

        Raises JournalError before the last round.
        """
        rounds, committed = self.plan.federation.rounds, len(self.journal.rounds())
        if committed < rounds:
            raise JournalError(f"{committed} of {rounds} rounds are committed; there is no final model.")
        last = range(rounds - self.plan.federation.average_last + 1, rounds + 1)
        if len(last) == 1:
            return self._model_of(rounds)
        total = np.zeros(self.layout.size, dtype=np.float64)
        for number in last:
            total += self.history.after(number)[0]
        return (total / len(last)).astype(np.float32)


def _may_have(description: Description | PrivateDescription, split: str, plan: Plan) -> bool:
    """Whether to ask this silo for scores on `split`. A private silo never says what it has; it always answers."""
    if isinstance(description, PrivateDescription):
        return score_releases(plan)[split] > 0
    return bool(description.n_validation if split == "validation" else description.n_test)


def _cohort(description: Description | PrivateDescription) -> str:
    """What tells one version of a cohort from another."""
    return description.cohort if isinstance(description, PrivateDescription) else description.store_digest
