"""From a run's summary to the content of report.json: JSON types only, checked, rounded, in a stable order."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from evaluation.audit.content import audit_content
from evaluation.measure import AnyScores, pooled_classes
from evaluation.report.absence import never_trained
from evaluation.report.check import check
from evaluation.report.finish import finished
from evaluation.report.inputs import RunSummary
from evaluation.report.mitigation import mitigation
from evaluation.report.outcome import outcome
from evaluation.report.performance import performance, summed_performance
from evaluation.report.privacy import privacy_entry
from evaluation.report.rounds import round_entry
from evaluation.report.sites import about_patients, site_entry
from evaluation.report.small_cells import TOTAL, held_back, without_in_mitigation, without_numbers, without_validation
from evaluation.report.texts import NOT_EVALUATED
from evaluation.report.texts_summed import notes
from evaluation.summed import AnySum
from protocol.errors import EvaluationError

SCHEMA_VERSION = "fedward.report/1"


def build_report(summary: RunSummary) -> dict[str, Any]:
    """The content of report.json (docs/report.md explains every field). Raises EvaluationError on an absurd summary."""
    check(summary)
    class_names, scored_names = _class_names(summary)
    privacy = privacy_entry(summary.privacy)
    ordered = sorted(summary.sites, key=lambda site: site.id)
    in_order = sorted(summary.rounds, key=lambda one: (one.round, one.attempt))
    rounds = [round_entry(one) for one in in_order]
    absent = never_trained(rounds, [site.id for site in ordered])
    summed = summary.summed
    sites = [site_entry(site, class_names, scored_names, absent, summed=summed) for site in ordered]
    totals = {key: _total(sites, key) for key in ("n_patients", "n_train", "n_validation", "n_test")}
    audit = _audit(summary, scored_names)
    held = held_back(sites, audit, [one.sites for one in summary.sums.values()])
    sites = [without_numbers(site, held) for site in sites]
    rounds = [without_validation(one, said, audit) for one, said in zip(rounds, in_order, strict=True)]
    gone = held.of(TOTAL)
    unshown = [site["id"] for site in sites if site["auroc"]["status"] == "suppressed"]
    model = _plain("model", summary.model)
    private = privacy["mechanism"] != "none"
    whole = outcome(rounds, sites, private=private, summed=summed)
    methods, limitations = notes(private=private, summed=summed)
    report = {
        "schema_version": SCHEMA_VERSION,
        "job": summary.job,
        "title": summary.title,
        "generated_at": summary.generated_at,
        "intended_use": summary.intended_use,
        "outcome": whole,
        "model": model,
        "plan": {"digest": summary.plan_digest, "content": _plain("plan", summary.plan)},
        "cohort": {
            "n_sites": len(sites),
            "n_sites_described": None if private else sum(bool(site["store_digest"]) for site in sites),
            "n_sites_trained": len(whole["aggregated_sites"]),
            **{key: None if key in gone else total for key, total in totals.items()},
            **({"withheld": dict(gone)} if gone else {}),
            "test_patients": _test_patients(summary, scored_names),
            "class_names": class_names,
        },
        "privacy": privacy,
        "performance": (
            summed_performance(summary.sums, scored_names)
            if summed
            else performance(ordered, scored_names, unshown) | {"sums": None}
        ),
        "audit": audit,
        "mitigation": [without_in_mitigation(one, held) for one in mitigation(summary, scored_names)],
        "sites": sites,
        "rounds": rounds,
        "lineage": {
            "plan_digest": summary.plan_digest,
            "model_digest": model.get("digest"),
            "store_digests": {site["id"]: site["store_digest"] for site in sites},
        },
        "methods": [dict(method) for method in methods],
        "limitations": list(limitations),
        "not_evaluated": list(NOT_EVALUATED),
        "software": _plain("software", summary.software),
    }
    return finished(_plain("summary", report))


def _audit(summary: RunSummary, scored_names: list[str]) -> dict[str, Any] | None:
    """report.json's `audit`, null where the plan asks for none."""
    if (one := summary.audit) is None:
        return None
    summed = np.array(one.counts, dtype=np.int64) if one.counts else None
    return audit_content(one.layout, scored_names, [np.array(each) for each in one.edges], summed, one.sites, one.reason)


def _total(sites: list[dict[str, Any]], key: str) -> int | None:
    """The sum over sites; None if any site does not release the number."""
    counts = [site[key] for site in sites]
    return None if None in counts else sum(counts)


def _test_patients(summary: RunSummary, scored_names: list[str]) -> dict[str, dict[str, int]] | None:
    scored: list[AnyScores | AnySum] = [site.federated for site in summary.sites if site.federated is not None]
    if (test := summary.sums.get("federated")) is not None and test.total is not None:
        scored = [test.total]
    return about_patients(pooled_classes(scored), scored_names) if scored else None


def _plain(what: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """`value` as JSON would give it back: no tuples, no NaN."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise EvaluationError(f"{what} cannot be written as JSON: {error}.") from error
    return plain


def _class_names(summary: RunSummary) -> tuple[list[str], list[str]]:
    """All classes as people read them, and those that were scored: the second of two, or every one."""
    n_classes = {len(site.class_counts_train) for site in summary.sites} - {0}  # 0: the site never described its cohort
    task = summary.plan.get("task") or {}
    names = [str(name) for name in task.get("class_names") or task.get("classes") or ()]
    if not names and len(n_classes) == 1:
        names = [f"class {index}" for index in range(next(iter(n_classes)))]
    if not n_classes <= {len(names)} or len(names) < 2 or len(set(names)) != len(names):
        raise EvaluationError(f"sites count {sorted(n_classes)} classes for training, the plan names {names}.")
    scored_names = names[1:] if len(names) == 2 else names
    found = {len(site.federated.classes) for site in summary.sites if site.federated is not None}
    found |= {len(one.total.classes) for one in summary.sums.values() if one.total is not None}
    if found and found != {len(scored_names)}:
        raise EvaluationError(f"sites scored {sorted(found)} classes where {len(scored_names)} were to be scored.")
    return names, scored_names
