"""Make the report's figures again from what the silos released: the same functions, fed from the bundle alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from evaluation.audit.edges import choose_edges
from evaluation.audit.layout import AuditLayout, Counts, layout_of
from evaluation.audit.sums import added, check_counts, from_wire, own_layout
from evaluation.measure import AnyScores
from evaluation.report.inputs import AuditSummary, RoundSummary, RunSummary, SiteSummary, Summed
from evaluation.summed import ExactSum, sum_of
from evaluation.verify.opened import Opened
from evaluation.verify.sums import reopened
from privacy.secure_aggregation.agreement import edges_digest
from privacy.spent import Spent
from protocol.errors import EvidenceError
from protocol.evidence.bundle import RoundCourse, ScoringCourse
from protocol.messages import AuditCounts, Description, Edges, PrivateScores, Scores
from protocol.plan import Plan
from protocol.plan.privacy import PatientPrivacy
from protocol.secure_aggregation import AUDIT, scores_purpose

_EDGE = 1e-9  # log-odds: two machines' logarithms may differ in the last bit


def rebuilt(opened: Opened, report: Mapping[str, Any], *, restricted: bool) -> RunSummary:
    """What the report should be made from. Raises EvidenceError, AggregationError, EvaluationError.

    Of the report itself it takes only when it was written and what it says of the model's file. Without the `restricted` files
    no figure of scores can be made again, and none is in it.
    """
    plan, course, spent = opened.plan, opened.course, Spent(opened.plan)
    singly: dict[tuple[int, str, str], dict[str, AnyScores]] = {}
    sums: dict[tuple[int, str, str], Summed] = {}
    for scoring in course.scorings if restricted else ():
        place = (scoring.round, scoring.kind, scoring.split)
        singly[place] = _singly(opened, scoring)
        if plan.evaluation.scores == "summed":
            sums[place] = _summed(opened, scoring)
    last = plan.federation.rounds
    epsilons = spent.by_round(one.round for one in course.rounds)
    test = {kind: singly.get((last, kind, "test"), {}) for kind in ("federated", "recalibrated", "alone", "personalised")}
    final = {kind: sums[place] for kind in test if (place := (last, kind, "test")) in sums}
    if plan.federation.personal and plan.evaluation.personalise == "none":
        test["personalised"] = {s: msgspec.structs.replace(x, kind="personalised") for s, x in test["federated"].items()}
        final |= {"personalised": final["federated"]} if "federated" in final else {}
    return RunSummary(
        job=opened.checkpoint.job,
        title=plan.title or plan.name,
        intended_use=plan.intended_use,
        generated_at=str(report["generated_at"]),
        plan=plan.to_json(),
        plan_digest=plan.digest,
        model={**report["model"], "digest": opened.checkpoint.model},
        privacy=_privacy(plan, spent),
        rounds=tuple(_round(one, singly, sums, epsilons) for one in course.rounds),
        sites=tuple(_site(opened, silo, test, restricted=restricted) for silo in course.configured),
        software=course.software,
        sums=final,
        audit=_audit(opened, test["federated"], final.get("federated"), restricted=restricted),
    )


def _singly(opened: Opened, scoring: ScoringCourse) -> dict[str, AnyScores]:
    found: dict[str, AnyScores] = {}
    for site, commitment in scoring.used.items():
        release = opened.release(site, commitment)
        place = (scoring.round, scoring.kind, scoring.split)
        if not isinstance(release, Scores | PrivateScores) or (release.address.round, release.kind, release.split) != place:
            raise EvidenceError(f"what is said to be scores of {site} after round {scoring.round} is something else.")
        found[site] = release
    return found


def _summed(opened: Opened, scoring: ScoringCourse) -> Summed:
    if scoring.unsummed is not None:
        return Summed(None, (), scoring.unsummed)
    counts, survivors, _ = reopened(opened, scores_purpose(scoring.kind, scoring.split), scoring.round)
    if sorted(survivors) != sorted(scoring.survivors):
        raise EvidenceError(f"the sum after round {scoring.round} is over other silos than rounds.json says.")
    return Summed(sum_of(opened.plan, counts, len(survivors)), tuple(scoring.survivors))


def _privacy(plan: Plan, spent: Spent) -> dict[str, Any]:
    settings: dict[str, Any] = {"mechanism": plan.privacy.mechanism, "secure_aggregation": plan.privacy.secure_aggregation}
    settings |= {"scores": plan.evaluation.scores, "audit": plan.evaluation.audit is not None}
    if not isinstance(plan.privacy, PatientPrivacy):
        return settings
    public = ("batch_patients", "max_images_per_patient", "max_silos_per_patient", "metrics_epsilon")
    return spent.guarantee.as_json() | {name: getattr(plan.privacy, name) for name in public} | settings


def _round(
    one: RoundCourse,
    singly: Mapping[tuple[int, str, str], Mapping[str, AnyScores]],
    sums: Mapping[tuple[int, str, str], Summed],
    epsilons: Mapping[int, float],
) -> RoundSummary:
    place = (one.round, "federated", "validation")
    return RoundSummary(
        round=one.round,
        attempt=one.attempt,
        seconds=one.seconds,
        configured=one.configured,
        trained=one.trained,
        aggregated=one.aggregated,
        failures=one.failures,
        train_loss=one.losses,
        validation=singly.get(place, {}),
        epsilon=epsilons.get(one.round),
        upload_bytes=one.upload_bytes,
        work=one.work,
        rejected=one.rejected,
        validation_sum=sums.get(place),
        weights=one.weights,
    )


def _site(opened: Opened, silo: str, test: Mapping[str, Mapping[str, AnyScores]], *, restricted: bool) -> SiteSummary:
    said: Description | None = None
    if restricted and (commitment := opened.course.described.get(silo)) is not None:
        release = opened.release(silo, commitment)
        said = release if isinstance(release, Description) else None
    unsaid = None if isinstance(opened.plan.privacy, PatientPrivacy) else 0
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
        federated=test["federated"].get(silo),
        alone=test["alone"].get(silo),
        personalised=test["personalised"].get(silo),
        recalibrated=test["recalibrated"].get(silo),
    )


def _audit(opened: Opened, test: Mapping[str, AnyScores], total: Summed | None, *, restricted: bool) -> AuditSummary | None:
    course, plan = opened.course.audit, opened.plan
    if course is None or plan.evaluation.audit is None:
        return None
    layout = layout_of(plan, tuple(site.name for site in opened.checkpoint.roster))
    if course.unsummed is not None or not restricted:
        return AuditSummary(layout, course.edges, (), (), course.unsummed or "its counts are not here.")
    _check_edges(layout, course.edges, test, total)
    if course.sum is not None:
        counts, survivors, evidence = reopened(opened, AUDIT, course.round)
        if sorted(survivors) != sorted(course.sites):
            raise EvidenceError("the audit's sum is over other silos than rounds.json says.")
        if evidence.manifest.parameters.get("edges") != edges_digest(course.edges):
            raise EvidenceError("the audit was counted between other edges than rounds.json says.")
        check_counts(layout, counts, survivors)
        return AuditSummary(layout, course.edges, tuple(int(one) for one in counts), tuple(course.sites), None)
    if sorted(course.used) != sorted(course.sites):
        raise EvidenceError("the audit's counts of a silo are not here.")
    vectors: dict[str, Counts] = {}
    for site, commitment in course.used.items():
        release = opened.release(site, commitment)
        if not isinstance(release, AuditCounts) or release.address.round != course.round:
            raise EvidenceError(f"what is said to be the audit's counts of {site} is something else.")
        vectors[site] = from_wire(own_layout(layout, site), release.counts)
    return AuditSummary(layout, course.edges, tuple(int(n) for n in added(layout, vectors)), tuple(course.sites), None)


def _check_edges(layout: AuditLayout, edges: Edges, test: Mapping[str, AnyScores], total: Summed | None) -> None:
    """Edges follow from the pooled test; an aggregator that chose them otherwise could choose what shows."""
    pooled: list[tuple[Counts, Counts]] = []
    if not layout.private and total is not None and isinstance(total.total, ExactSum):
        pooled = [(np.array(one.positive), np.array(one.negative)) for one in total.total.classes]
    elif not layout.private:
        classes = zip(*(one.classes for one in test.values() if isinstance(one, Scores)), strict=True)
        pooled = [
            (np.sum([x.histogram_positive for x in one], axis=0), np.sum([x.histogram_negative for x in one], axis=0))
            for one in classes
        ]
    wanted = choose_edges(layout, pooled)
    same = len(wanted) == len(edges) and all(len(a) == len(b) for a, b in zip(wanted, edges, strict=True))
    if not same or any(not np.allclose(a, np.array(b), rtol=0.0, atol=_EDGE) for a, b in zip(wanted, edges, strict=True)):
        raise EvidenceError("the audit's edges are not those that follow from the test scores.")
