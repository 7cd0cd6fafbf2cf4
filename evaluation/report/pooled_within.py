"""Pooled beside within hospitals, in plain words: how far the hospital by itself tells the answer, by this job's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Counts = Mapping[str, tuple[int, int]]  # hospital -> test cases with the finding, and without


def pooled_within(report: dict[str, Any]) -> list[str]:
    """Sentences from report.json alone; none where either figure is missing or both read the same."""
    overall = report["performance"]
    pooled, within = overall["global"]["auroc"], overall["stratified"]["auroc"]
    if pooled["value"] is None or within["value"] is None or overall["global"]["n_sites"] < 2:
        return []
    if f"{pooled['value']:.3f}" == f"{within['value']:.3f}":
        return []
    said = [f"Pooled, the AUROC is {pooled['value']:.3f}; within hospitals it is {within['value']:.3f}."]
    return [*said, *_prevalence(report), _direction(pooled["value"], within["value"]), _size(pooled, within["value"])]


def alone_by_site(counts: Counts) -> float | None:
    """The pooled AUROC of a score that is nothing but how common the finding is at the case's hospital; None without pairs."""
    positives, negatives = (sum(one[place] for one in counts.values()) for place in (0, 1))
    if not positives or not negatives:
        return None
    ranked = [(p / (p + n), p, n) for p, n in counts.values() if p + n]
    won = sum(p * n * (1.0 if high > low else 0.5 if high == low else 0.0) for high, p, _ in ranked for low, _, n in ranked)
    return won / (positives * negatives)


def _prevalence(report: dict[str, Any]) -> list[str]:
    private, names = report["privacy"]["mechanism"] != "none", report["cohort"]["class_names"]
    if len(names) != 2:
        return []
    counts = _counts(report["sites"], names[1])
    alone = None if counts is None else alone_by_site(counts)
    if counts is None or alone is None:
        return ["How common the finding is at each hospital is not shown, so how much the hospital alone tells is not said."]
    shares = {site: p / (p + n) for site, (p, n) in counts.items() if p + n}
    low, high = min(shares, key=shares.__getitem__), max(shares, key=shares.__getitem__)
    about, cases = ("about ", "patients") if private else ("", "images")
    return [
        f"Of the test {cases}, {about}{100 * shares[low]:.0f}% have {names[1]} at {low} and {about}{100 * shares[high]:.0f}% "
        f"at {high}: whoever knew the hospital and nothing else would reach {about}{alone:.2f} pooled, and 0.50 within "
        "hospitals."
    ]


def _counts(sites: Sequence[Mapping[str, Any]], name: str) -> Counts | None:
    """None where the numbers of a hospital that was scored are not shown."""
    found: dict[str, tuple[int, int]] = {}
    for site in sites:
        about, exact = site["test_patients"], site["positives_test"]
        if about is not None and "the rest" in about:
            found[site["id"]] = about[name]["value"], about["the rest"]["value"]
        elif exact is not None:
            if exact.get(name) is None or site["n_test"] is None:
                return None
            found[site["id"]] = exact[name], site["n_test"] - exact[name]
    return found or None


def _direction(pooled: float, within: float) -> str:
    if pooled > within:
        return (
            "Pooled is higher: a part of it may come of recognising the hospital (its machine, its marks) and not the disease, "
            "as hospital and finding go together. Within hospitals that gains nothing, so believe the figure within hospitals."
        )
    return (
        "Pooled is lower: the model ranks cases of one hospital better than cases of different ones, as the same score does "
        "not mean the same at every hospital. One threshold for all will then suit some and not others; see calibration by "
        "hospital."
    )


def _size(pooled: Mapping[str, Any], within: float) -> str:
    difference, bound = abs(pooled["value"] - within), pooled.get("binning_bound") or 0.0
    if difference < bound:
        return f"The difference, {difference:.3f}, is less than counting in bins can move the pooled figure ({bound:.3f})."
    return f"How much of the difference, {difference:.3f}, is chance is not known."
