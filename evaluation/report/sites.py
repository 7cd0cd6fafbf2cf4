"""One hospital's entry in the report: its data, its three models, and whether taking part was worth it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from evaluation.comparison import compare_scores
from evaluation.federated import site_auroc
from evaluation.intervals import Z95
from evaluation.measure import AnyScores, class_aurocs
from evaluation.measured import Measured
from evaluation.metrics import Estimate
from evaluation.report.inputs import SiteSummary

NOT_SCORED = Estimate(None, None, None, "not scored", "<10", None, "not_estimable", "no_score")
ONLY_SUMS = replace(NOT_SCORED, why="only_sums")


def site_entry(
    site: SiteSummary,
    class_names: Sequence[str],
    scored_names: Sequence[str],
    absent: Mapping[str, str],
    *,
    summed: bool = False,
) -> dict[str, Any]:
    """report.json's `sites[i]`; `alone`, `personalised` and `versus_alone` are null where there is no such model.

    `absent` says why for each site that never trained. `summed`: no site's scores are known by themselves.
    """
    federated = _optional(site.federated) or (ONLY_SUMS if summed else _not_scored(site, absent))
    alone, personalised = _optional(site.alone), _optional(site.personalised)
    return {
        "id": site.id,
        "never_trained": absent.get(site.id),
        "n_patients": site.n_patients,
        "n_train": site.n_train,
        "n_validation": site.n_validation,
        "n_test": site.n_test,
        "class_counts_train": dict(zip(class_names, site.class_counts_train, strict=bool(site.class_counts_train))),
        "positives_test": _positives(site.federated, scored_names),
        "test_patients": about_patients(class_aurocs(site.federated) if site.federated else (), scored_names),
        "modalities": list(site.modalities),
        "manufacturers": list(site.manufacturers),
        "store_digest": site.store_digest,
        "auroc": federated.to_json(),
        "alone": alone and alone.to_json(),
        "personalised": personalised and personalised.to_json(),
        "versus_alone": _versus_alone(site),
        "classes": by_class(site.federated, scored_names),
    }


def by_class(scores: AnyScores | None, scored_names: Sequence[str]) -> list[dict[str, Any]]:
    """Each class against the rest; empty for a binary task, where it would repeat the headline."""
    if scores is None or len(scores.classes) == 1:
        return []
    estimates = [one.estimate().to_json() for one in class_aurocs(scores)]
    return [{"name": name, "auroc": one} for name, one in zip(scored_names, estimates, strict=True)]


def _not_scored(site: SiteSummary, absent: Mapping[str, str]) -> Estimate:
    if site.id in absent:
        return replace(NOT_SCORED, why="took_no_part")
    return replace(NOT_SCORED, why="too_few_images") if site.n_test == 0 and site.store_digest else NOT_SCORED


def _optional(scores: AnyScores | None) -> Estimate | None:
    return None if scores is None else site_auroc(scores).estimate()


def _positives(scores: AnyScores | None, scored_names: Sequence[str]) -> dict[str, int] | None:
    measured = class_aurocs(scores) if scores is not None else ()
    if not measured or any(one.noise for one in measured):
        return None
    return {name: one.n_positive for name, one in zip(scored_names, measured, strict=True)}


def about_patients(measured: Sequence[Measured], scored_names: Sequence[str]) -> dict[str, dict[str, int]] | None:
    """How many test patients there are by noised counts: of each class and, for two classes, of the rest; None if exact."""
    found: dict[str, dict[str, int]] = {}
    for name, one in zip(scored_names, measured, strict=bool(measured)):
        if one.noise is None:
            return None
        counts = {name: one.n_positive} | ({"the rest": one.n_negative} if len(measured) == 1 else {})
        half = Z95 * one.noise.count_sd
        for label, count in counts.items():
            lo, hi = round(max(0.0, count - half)), round(max(0.0, count + half))
            found[label] = {"value": max(0, count), "lo": lo, "hi": hi}
    return found or None


def _versus_alone(site: SiteSummary) -> dict[str, Any] | None:
    if site.alone is None:
        return None
    found = {"federated": compare_scores(site.federated, site.alone).to_json()}
    if site.personalised is not None:
        found["personalised"] = compare_scores(site.personalised, site.alone).to_json()
    return found
