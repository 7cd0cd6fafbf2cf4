"""From the journal of a finished job to what the report is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from aggregator.job import Job
from aggregator.records import AuditRecord, RosterRecord, RoundRecord, ScoresRecord
from evaluation.audit.layout import AuditLayout
from evaluation.measure import AnyScores
from evaluation.report.inputs import AuditSummary, RoundSummary, RunSummary, SiteSummary, Summed
from privacy.spent import Spent
from protocol.errors import JournalError
from protocol.messages import Description
from protocol.plan import Plan
from protocol.plan.privacy import PatientPrivacy


def summarise(job: Job, model: Mapping[str, Any]) -> RunSummary:
    """Everything the journal knows of `job`; `model` describes the final model's file. Raises JournalError before the end."""
    roster = job.journal.fact("roster", RosterRecord)
    if roster is None:
        raise JournalError("this job has no roster yet; run it first.")
    plan = job.plan
    scores = job.scores()
    validation = {record.round: record for record in scores if record.split == "validation"}
    test = {record.kind: record.scores for record in scores if record.split == "test"}
    rounds, spent = job.rounds(), Spent(plan)
    epsilons = spent.by_round(record.round for record in rounds)
    return RunSummary(
        job=job.name,
        title=plan.title or plan.name,
        intended_use=plan.intended_use,
        generated_at=datetime.now(UTC).isoformat(timespec="seconds"),
        plan=plan.to_json(),
        plan_digest=plan.digest,
        model=model,
        privacy=_privacy(plan, spent),
        rounds=tuple(_round(record, validation, epsilons) for record in rounds),
        sites=tuple(_site(silo, roster, test, job) for silo in roster.configured),
        software=job.journal.fact("environment", dict[str, str]) or {},
        sums=_sums(scores, plan) if plan.evaluation.scores == "summed" else {},
        audit=None if (audit := job.audit()) is None else audit_summary(audit, job.audit_layout),
    )


def audit_summary(record: AuditRecord, layout: AuditLayout) -> AuditSummary:
    """What the report is made from of the audit."""
    return AuditSummary(layout, record.edges, record.counts, record.sites, record.unsummed)


def _sums(scores: Sequence[ScoresRecord], plan: Plan) -> dict[str, Summed]:
    """The test of each kind of model, where single hospitals' scores are not known."""
    sums = {record.kind: _summed(record) for record in scores if record.split == "test"}
    if plan.federation.personal and plan.evaluation.personalise == "none" and "federated" in sums:
        sums["personalised"] = sums["federated"]  # as at the sites: with parts kept at the hospital they are one model
    return sums


def _summed(record: ScoresRecord) -> Summed:
    return Summed(record.summed, record.survivors, record.unsummed)


def _privacy(plan: Plan, spent: Spent) -> dict[str, Any]:
    settings: dict[str, Any] = {"mechanism": plan.privacy.mechanism, "secure_aggregation": plan.privacy.secure_aggregation}
    settings |= {"scores": plan.evaluation.scores, "audit": plan.evaluation.audit is not None}
    if not isinstance(plan.privacy, PatientPrivacy):
        return settings
    public = ("batch_patients", "max_images_per_patient", "max_silos_per_patient", "metrics_epsilon")
    return spent.guarantee.as_json() | {name: getattr(plan.privacy, name) for name in public} | settings


def _round(record: RoundRecord, validation: Mapping[int, ScoresRecord], spent: Mapping[int, float]) -> RoundSummary:
    scored = validation.get(record.round)
    singly = scored is None or (scored.summed is None and scored.unsummed is None)
    return RoundSummary(
        round=record.round,
        attempt=record.attempt,
        seconds=record.seconds,
        configured=record.configured,
        trained=record.trained,
        aggregated=record.aggregated,
        failures=record.failures,
        train_loss=record.losses,
        validation={} if scored is None else scored.scores,
        epsilon=spent.get(record.round),
        upload_bytes=record.upload_bytes,
        work=record.work,
        rejected=record.rejected,
        weights=record.weights,
        validation_sum=None if scored is None or singly else _summed(scored),
    )


def _site(silo: str, roster: RosterRecord, test: Mapping[str, Mapping[str, AnyScores]], job: Job) -> SiteSummary:
    description = roster.descriptions.get(silo)
    said = description if isinstance(description, Description) else None
    # A private plan's silo says nothing of its cohort: unknown, not 0. One that never answered is as good as empty.
    unsaid = None if isinstance(job.plan.privacy, PatientPrivacy) else 0
    federated = test.get("federated", {}).get(silo)
    personalised = test.get("personalised", {}).get(silo)
    if job.plan.federation.personal and job.plan.evaluation.personalise == "none" and federated is not None:
        # With parts kept at the hospital, the federation's model at a site IS that site's personalised model.
        personalised = msgspec.structs.replace(federated, kind="personalised")
    return SiteSummary(
        id=silo,
        n_patients=said.n_patients if said else unsaid,
        n_train=said.n_train if said else unsaid,
        n_validation=said.n_validation if said else unsaid,
        n_test=said.n_test if said else unsaid,
        class_counts_train=said.class_counts_train if said else (),
        modalities=said.modalities if said else (),
        manufacturers=said.manufacturers if said else (),
        store_digest=said.store_digest if said else "",
        federated=federated,
        alone=test.get("alone", {}).get(silo),
        personalised=personalised,
        recalibrated=test.get("recalibrated", {}).get(silo),
    )
