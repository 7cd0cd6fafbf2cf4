"""The job: drives the state machine, one durable step after the other, over any transport."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from aggregator.audit import ModelAudit
from aggregator.claim import claim
from aggregator.events import Audited, JobOpened, Observer, PhaseDone, RoundCommitted, Scored, StepStarted
from aggregator.evidence.closing import EvidenceRecord, close
from aggregator.evidence.seen import Watched
from aggregator.guard import bear, judge, keep_files, last_good, refused_norm
from aggregator.history import History
from aggregator.journal import Journal
from aggregator.models import Models
from aggregator.questions import Desk, ask_descriptions, ask_local_models, ask_scores
from aggregator.records import AuditRecord, RosterRecord, RoundRecord, ScoresRecord
from aggregator.replies import named
from aggregator.rounds import RoundResult, run_round
from aggregator.secure import Pending, SummedScoring, run_secure_round
from aggregator.steps import (
    AuditModel,
    CloseJob,
    JudgeRound,
    LocalPhase,
    Progress,
    ScoreModel,
    Step,
    TrainRound,
    next_step,
    step_key,
)
from aggregator.strategies import State, build_strategy
from aggregator.weights import shares_for
from evaluation.audit.layout import AuditLayout, layout_of
from privacy.guarantee import score_releases
from protocol.errors import BudgetError, FederationError, JournalError, PlanError, QuorumError, UpdateError
from protocol.messages import Description, PrivateDescription
from protocol.plan import Plan
from protocol.secure_aggregation import Member
from protocol.transport.base import Transport
from protocol.vectors import Vector, vector_digest

_PRIVACY = frozenset({"BudgetError", "PolicyError", "LedgerError", "LedgerRolledBackError"})


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
            self.name = claim(self.journal, plan, tuple(transport.silos), environment or {})
        except (JournalError, PlanError):
            self.journal.close()
            raise
        self._transport = Watched(transport, self.journal)
        self._desk = Desk(self._transport, plan, self.name, observe)
        self.models = Models(plan, self.history)
        self._strategy = build_strategy(plan.federation.strategy)

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
        if (audit := self.audit()) is not None:
            self._observe(Audited(audit, self.audit_layout, self.plan, replayed=True))
        validate = any(_may_have(description, "validation", self.plan) for description in roster.descriptions.values())
        self._refuse_blind_guard(validate=validate)
        model, state = self.history.now() or (self.models.initial, {})
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
        roster = ask_descriptions(self._desk, self.models.layout.digest, self.history.receipts())
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
            why = f":\n{named(roster.failures)}" if roster.failures else "."
            raise QuorumError(
                f"{len(roster.descriptions)} of {len(roster.configured)} silos can take part, the plan's quorum is "
                f"{self.plan.federation.quorum}{why}"
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
        shares = shares_for(self.plan, self._transport.silos, self.scores(), self.history.verdicts())
        try:
            going = (silos, model, state, self._strategy, self._observe)
            if secure:
                result = run_secure_round(self._transport, self.plan, address, *going, self._members, self._pending, shares)
            else:
                result = run_round(self._transport, self.plan, address, *going, shares)
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
        return RoundResult(result.model, self.models.averaged(result.model, result.state, state), record)

    def _judge(self, step: JudgeRound) -> None:
        """Compare a validation with the last good one; what is decided is durable before anything follows from it."""
        scores = {one.round: one for one in self.scores() if one.split == "validation"}
        good = last_good(self.history.verdicts())
        verdict = judge(self.plan.federation.guard, scores[step.round], None if good is None else scores[good])
        before = self.rounds()
        self.journal.remember(step_key(step), verdict)
        for record, known in zip(self.rounds(), before, strict=True):
            if record != known:
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
        if self.plan.federation.weighting == "worst_site" and not validate:
            raise FederationError(
                "federation.weighting worst_site follows validations, but no silo has validation patients. Raise "
                "data.split.validation_fraction, or set it to uniform."
            )

    def _closing(self, step: Step, roster: RosterRecord) -> None:
        silos = tuple(roster.descriptions)
        if isinstance(step, LocalPhase):
            final = self.models.final() if step.kind == "personalised" else None
            record = ask_local_models(self._desk, step, silos, final)
            self.journal.remember(step_key(step), record)
            self._observe(PhaseDone(record))
        elif isinstance(step, AuditModel):
            self._audit(step, silos)
        elif isinstance(step, CloseJob):
            models = vector_digest(self.models.initial), vector_digest(self.models.final())
            self.journal.remember(step_key(step), close(self._desk, self._members, self.journal, self.history, *models))
        elif isinstance(step, ScoreModel):
            if self.plan.evaluation.scores == "summed":
                self._sum(step, silos)
                return
            having = tuple(silo for silo in silos if _may_have(roster.descriptions[silo], step.split, self.plan))
            scores = ask_scores(self._desk, step, having, self.models.to_score(step))
            self.journal.remember(step_key(step), scores)
            self._observe(Scored(scores))

    def _sum(self, step: ScoreModel, silos: tuple[str, ...]) -> None:
        """Ask all silos, those without patients in the part too: a sum should not tell who has some."""
        scoring = SummedScoring(self._desk, step, self.journal, self._members)
        origin = self.models.final() if step.kind == "personalised" else None
        scores = scoring.run(silos, self.models.to_score(step), origin)
        self.journal.remember(step_key(step), scores)
        scoring.forget()
        self._observe(Scored(scores))

    def _audit(self, step: AuditModel, silos: tuple[str, ...]) -> None:
        """Ask all silos, those without test patients too."""
        asking = ModelAudit(self._desk, step, self.audit_layout, self.journal, self._members)
        test = {(one.round, one.kind, one.split): one for one in self.scores()}.get((step.round, "federated", "test"))
        record = asking.run(silos, self.models.final(), test)
        self.journal.remember(step_key(step), record)
        asking.forget()
        self._observe(Audited(record, self.audit_layout, self.plan))

    # ------------------------------------------------------------------------------------------------------------ results

    @property
    def audit_layout(self) -> AuditLayout:
        """What the counts of the audit stand for, over all hospitals of the roster. Raises EvaluationError without an audit."""
        names = tuple(member.name for member in self._members) if self.plan.privacy.secure_aggregation else ()
        return layout_of(self.plan, names or tuple(self._transport.silos))

    def audit(self) -> AuditRecord | None:
        """The audit of the final model, once it was made or given up."""
        return self.history.audit()

    def evidence(self) -> EvidenceRecord | None:
        """What the silos signed, once the job was closed."""
        return self.journal.fact(step_key(CloseJob()), EvidenceRecord)

    def scores(self) -> list[ScoresRecord]:
        """Every scoring done so far, in order."""
        return self.history.scores()

    def rounds(self) -> tuple[RoundRecord, ...]:
        """Every committed round as it reads today, in order: those that a later validation rejected say so."""
        return self.history.rounds()


def _may_have(description: Description | PrivateDescription, split: str, plan: Plan) -> bool:
    """Whether to ask this silo for scores on `split`. A private silo never says what it has; it always answers."""
    if isinstance(description, PrivateDescription):
        return score_releases(plan)[split] > 0
    return bool(description.n_validation if split == "validation" else description.n_test)


def _cohort(description: Description | PrivateDescription) -> str:
    """What tells one version of a cohort from another."""
    return description.cohort if isinstance(description, PrivateDescription) else description.store_digest
