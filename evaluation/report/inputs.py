"""What a finished job hands over to be reported: facts and the sites' Scores, no figures of merit yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evaluation.audit.layout import AuditLayout
from evaluation.measure import AnyScores
from evaluation.summed import AnySum


@dataclass(frozen=True)
class Summed:
    """A scoring of which only the sum over `sites` is known; without a `total`, `reason` says why there is none."""

    total: AnySum | None
    sites: tuple[str, ...]
    reason: str | None = None


@dataclass(frozen=True)
class AuditSummary:
    """What the audit left: `counts` are the opened sum over the hospitals `sites`, in the places of `layout`, counted in the
    bins between `edges`. Without a sum `counts`, `sites` and perhaps `edges` are empty, and `reason` says why.
    """

    layout: AuditLayout
    edges: tuple[tuple[float, ...], ...]
    counts: tuple[int, ...]
    sites: tuple[str, ...]
    reason: str | None = None


@dataclass(frozen=True)
class RoundSummary:
    """One attempt at one round. `trained` replied in time, `aggregated` entered the model, `failures` says why not.

    `train_loss` is the mean loss of each silo's local steps; `validation` scores the global model after this round. `epsilon`
    is what the run has cost a patient up to the end of this round; None where that was not computed, or nothing limits it.
    `upload_bytes` is how long the vector of each update was that arrived, `work` the share of its local steps that each silo
    had time for.
    `weights` is what each update weighed, empty where that was masked.
    `rejected` says why federation.guard did not let the outcome stand. `validation_sum` stands for `validation` where only sums
    leave.
    """

    round: int
    attempt: int
    seconds: float
    configured: tuple[str, ...]
    trained: tuple[str, ...]
    aggregated: tuple[str, ...]
    failures: Mapping[str, str] = field(default_factory=dict)
    train_loss: Mapping[str, float] = field(default_factory=dict)
    validation: Mapping[str, AnyScores] = field(default_factory=dict)
    epsilon: float | None = None
    upload_bytes: Mapping[str, int] = field(default_factory=dict)
    work: Mapping[str, float] = field(default_factory=dict)
    rejected: str | None = None
    validation_sum: Summed | None = None
    weights: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class SiteSummary:
    """One hospital: its cohort under the plan (n_train, n_validation and n_test count images) and its test scores.

    `class_counts_train` is empty and `store_digest` "" if the site never described its cohort. `federated` is None if the
    site never scored the final model; `alone`, `personalised` and `recalibrated` are None unless asked for. Under a private
    plan a site says nothing of its cohort: counts are None, tuples empty, `store_digest` is "".
    """

    id: str
    n_patients: int | None
    n_train: int | None
    n_validation: int | None
    n_test: int | None
    class_counts_train: tuple[int, ...]
    modalities: tuple[str, ...]
    manufacturers: tuple[str, ...]
    store_digest: str
    federated: AnyScores | None
    alone: AnyScores | None = None
    personalised: AnyScores | None = None
    recalibrated: AnyScores | None = None


@dataclass(frozen=True)
class RunSummary:
    """Everything the report is made from.

    `generated_at` is an ISO 8601 date and time; `plan` the plan as JSON types, whose digest is `plan_digest`; `model` holds
    at least `digest`; `privacy` holds `mechanism` and `secure_aggregation`, and under a private plan what
    `report.privacy_local` asks for; `software` maps a package to its version. Where only sums of scores leave, `privacy` holds
    `scores: summed`, the sites have none and `sums` holds the test of each kind of model. `audit` is there if the plan asks
    for one.
    """

    job: str
    title: str
    intended_use: str
    generated_at: str
    plan: Mapping[str, Any]
    plan_digest: str
    model: Mapping[str, Any]
    privacy: Mapping[str, Any]
    rounds: tuple[RoundSummary, ...]
    sites: tuple[SiteSummary, ...]
    software: Mapping[str, str]
    sums: Mapping[str, Summed] = field(default_factory=dict)
    audit: AuditSummary | None = None

    @property
    def summed(self) -> bool:
        """Whether the plan lets only sums of scores leave."""
        return self.privacy.get("scores") == "summed"
