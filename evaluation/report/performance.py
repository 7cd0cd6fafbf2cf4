"""The federation's figures: pooled over all images, within sites, worst site, spread between sites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from evaluation.federated import pooled, site_auroc, stratified, worst_site
from evaluation.heterogeneity import spread
from evaluation.measure import AnyScores, pooled_classes
from evaluation.report.inputs import SiteSummary
from evaluation.report.sites import NOT_SCORED


def performance(sites: Sequence[SiteSummary], scored_names: Sequence[str]) -> dict[str, Any]:
    """report.json's `performance`; `worst_site` and `spread` are null where too few sites can be estimated."""
    scored = {site.id: site.federated for site in sites if site.federated is not None}
    if not scored:
        empty = {"auroc": NOT_SCORED.to_json(), "n_sites": 0}
        return {"global": empty | {"classes": []}, "stratified": empty, "worst_site": None, "spread": None}
    everyone = list(scored.values())
    measured = [site_auroc(scores) for scores in everyone]
    worst, between = worst_site(scored), spread(measured)
    per_class = [one.estimate().to_json() for one in pooled_classes(everyone)]
    named = [{"name": name, "auroc": one} for name, one in zip(scored_names, per_class, strict=True)]
    return {
        "global": {
            "auroc": pooled(everyone).estimate().to_json(),
            "n_sites": len(everyone),
            "classes": named if len(named) > 1 else [],
        },
        "stratified": {
            "auroc": _within(everyone),
            "n_sites": sum(one.estimable for one in measured),
        },
        "worst_site": worst and {"id": worst[0], "auroc": worst[1].estimate().to_json()},
        "spread": between
        and {
            "tau_logit_auroc": round(between.tau, 6),
            "cochran_q": round(between.q, 6),
            "p_value": round(between.p_value, 6),
            "n_sites": between.n_sites,
        },
    }


def _within(sites: Sequence[AnyScores]) -> dict[str, Any]:
    found = stratified(sites).estimate()
    return (found if found.value is not None else replace(found, why="no_site")).to_json()
