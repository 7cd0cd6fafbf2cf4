"""The federation's figures: pooled over all images, within sites, worst site, spread between sites."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from evaluation.federated import pooled, site_auroc, stratified, worst_site
from evaluation.heterogeneity import spread
from evaluation.measure import AnyScores, pooled_classes
from evaluation.report.inputs import SiteSummary, Summed
from evaluation.report.sites import NOT_SCORED, ONLY_SUMS
from evaluation.summed import ExactSum


def summed_performance(sums: Mapping[str, Summed], scored_names: Sequence[str]) -> dict[str, Any]:
    """report.json's `performance` where only sums leave: everything that needs single hospitals is not measured."""
    test = sums.get("federated", Summed(None, ()))
    found = [] if test.total is None else pooled_classes([test.total])
    named = [{"name": name, "auroc": one.estimate().to_json()} for name, one in zip(scored_names, found, strict=bool(found))]
    return {
        "global": {"auroc": _of_sum(test), "n_sites": len(test.sites), "classes": named if len(named) > 1 else []},
        "stratified": {"auroc": ONLY_SUMS.to_json(), "n_sites": 0},
        "worst_site": None,
        "spread": None,
        "sums": [_sum_entry(kind, sums[kind]) for kind in ("federated", "alone", "personalised") if kind in sums],
    }


def _sum_entry(kind: str, one: Summed) -> dict[str, Any]:
    """`n` and `accuracy` (of images) are null where noise covers them, and `reason` where there is a sum."""
    exact = one.total if isinstance(one.total, ExactSum) else None
    accuracy = round(exact.n_right / exact.n, 6) if exact and exact.n else None
    figures = {"auroc": _of_sum(one), "n": exact and exact.n, "accuracy": accuracy}
    return {"kind": kind, **figures, "sites": sorted(one.sites), "reason": one.reason}


def _of_sum(one: Summed) -> dict[str, Any]:
    return (NOT_SCORED if one.total is None else pooled([one.total]).estimate()).to_json()


def performance(sites: Sequence[SiteSummary], scored_names: Sequence[str], withheld: Collection[str] = ()) -> dict[str, Any]:
    """report.json's `performance`; `worst_site` and `spread` are null where too few sites can be estimated.

    `withheld`: sites whose own figures are not shown, so that none of them can be the worst.
    """
    scored = {site.id: site.federated for site in sites if site.federated is not None}
    if not scored:
        empty = {"auroc": NOT_SCORED.to_json(), "n_sites": 0}
        return {"global": empty | {"classes": []}, "stratified": empty, "worst_site": None, "spread": None}
    everyone = list(scored.values())
    measured = [site_auroc(scores) for scores in everyone]
    worst, between = worst_site({name: one for name, one in scored.items() if name not in withheld}), spread(measured)
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
