"""From the journal of a finished job to what the report is made from."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from aggregator.job import Job
from aggregator.records import RosterRecord, RoundRecord
from evaluation.report.inputs import RoundSummary, RunSummary, SiteSummary
from protocol.errors import JournalError
from protocol.messages import Scores


def summarise(job: Job, model: Mapping[str, Any]) -> RunSummary:
    """Everything the journal knows of `job`; `model` describes the final model's file. Raises JournalError before the end."""
    roster = job.journal.fact("roster", RosterRecord)
    if roster is None:
        raise JournalError("this job has no roster yet; run it first.")
    plan = job.plan
    scores = job.scores()
    validation = {record.round: record.scores for record in scores if record.split == "validation"}
    test = {record.kind: record.scores for record in scores if record.split == "test"}
    return RunSummary(
        job=job.name,
        title=plan.title or plan.name,
        intended_use=plan.intended_use,
        generated_at=datetime.now(UTC).isoformat(timespec="seconds"),
        plan=plan.to_json(),
        plan_digest=plan.digest,
        model=model,
        privacy={"mechanism": plan.privacy.mechanism, "secure_aggregation": False},
        rounds=tuple(_round(record, validation) for record in job.journal.rounds()),
        sites=tuple(_site(silo, roster, test, job) for silo in roster.configured),
        software=job.journal.fact("environment", dict[str, str]) or {},
    )


def _round(record: RoundRecord, validation: Mapping[int, Mapping[str, Scores]]) -> RoundSummary:
    return RoundSummary(
        round=record.round,
        attempt=record.attempt,
        seconds=record.seconds,
        configured=record.configured,
        trained=record.trained,
        aggregated=record.aggregated,
        failures=record.failures,
        train_loss=record.losses,
        validation=validation.get(record.round, {}),
    )


def _site(silo: str, roster: RosterRecord, test: Mapping[str, Mapping[str, Scores]], job: Job) -> SiteSummary:
    description = roster.descriptions.get(silo)
    federated = test.get("federated", {}).get(silo)
    personalised = test.get("personalised", {}).get(silo)
    if job.plan.federation.personal and job.plan.evaluation.personalise == "none" and federated is not None:
        # With parts kept at the hospital, the federation's model at a site IS that site's personalised model.
        personalised = msgspec.structs.replace(federated, kind="personalised")
    return SiteSummary(
        id=silo,
        n_patients=description.n_patients if description else 0,
        n_train=description.n_train if description else 0,
        n_validation=description.n_validation if description else 0,
        n_test=description.n_test if description else 0,
        class_counts_train=description.class_counts_train if description else (),
        modalities=description.modalities if description else (),
        manufacturers=description.manufacturers if description else (),
        store_digest=description.store_digest if description else "",
        federated=federated,
        alone=test.get("alone", {}).get(silo),
        personalised=personalised,
    )
