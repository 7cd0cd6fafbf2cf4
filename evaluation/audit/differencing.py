"""Two releases of one cohort: what their difference would tell of few patients although neither does by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

Cells = dict[str, int]


def differs_by_few(first: Mapping[str, Any], second: Mapping[str, Any], k: int) -> tuple[str, ...]:
    """The cells whose numbers in two released audits differ by 1 to k - 1, named and sorted; not by how much.

    `first` and `second` are report.json's `audit` of two releases on the same patients, for example before and after some were
    left out. Compared are images, positives and negatives of each group, the cells behind its rates, and the score
    distribution between edges that both have. Noised releases show no numbers, so nothing is named.
    """
    if first.get("epsilon") is not None or second.get("epsilon") is not None:
        return ()
    classes = {one["name"]: one for one in second["classes"]}
    named = []
    for one in first["classes"]:
        other = classes.get(one["name"])
        if other is not None:
            named += [f"{one['name']}: {cell}" for cell in _few(dict(_groups(one)), dict(_groups(other)), k)]
            named += [f"{one['name']}: {cell}" for cell in _few(*_distributions(one, other), k)]
    return tuple(sorted(named))


def _few(first: Cells, second: Cells, k: int) -> list[str]:
    return [name for name in first if name in second and 0 < abs(first[name] - second[name]) < k]


def _groups(one: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Every number that a class's groups show or give away."""
    for group in one["groups"]:
        if group["n"] is None or group["events"] is None:
            continue
        name, positives, negatives = f"{group['attribute']} {group['value']}", group["events"], group["n"] - group["events"]
        yield f"{name}, images", group["n"]
        yield f"{name}, positives", positives
        yield f"{name}, negatives", negatives
        for point in group["operating_points"]:
            for rate, whole, called, rest in (
                ("sensitivity", positives, "true positives", "false negatives"),
                ("specificity", negatives, "true negatives", "false positives"),
            ):
                value = point[rate]["value"]
                if value is not None:
                    yield f"{name}, {called} at {point['threshold']}", round(value * whole)
                    yield f"{name}, {rest} at {point['threshold']}", whole - round(value * whole)


def _distributions(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[Cells, Cells]:
    """Cases between each two edges that both distributions have."""
    shown = [each["score_distribution"] for each in (one, other)]
    if None in shown:
        return {}, {}
    common = sorted(set(shown[0]["edges"]) & set(shown[1]["edges"]))
    first, second = (_between(each, common) for each in shown)
    return first, second


def _between(shown: Mapping[str, Any], common: list[float]) -> Cells:
    cells: Cells = {}
    for label in ("positive", "negative"):
        starts = [0, *(shown["edges"].index(edge) + 1 for edge in common), len(shown[label])]
        for (start, end), (low, high) in zip(pairwise(starts), pairwise([0.0, *common, 1.0]), strict=True):
            cells[f"{label} scores from {low} to {high}"] = sum(shown[label][start:end])
    return cells
