"""One line of the fairness table: a figure compared between the groups of one attribute, and what follows from it.

The rule, the same for every figure that has a margin (docs/fairness.md, with its measured error rates):

    fail          the groups differ by more than chance explains (p after Holm's correction for all comparisons of the report
                  is at most 0.05), and the whole interval of the gap lies above the margin
    pass          the whole interval lies within the margin, patients without a value (`unknown`) included
    insufficient  anything else, and always where fewer than two groups can be measured
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import Any, Literal

from evaluation.audit.fairness_chance import null_gap
from evaluation.audit.fairness_gap import Gap, gap, p_above, upper
from evaluation.audit.fairness_points import Family, Point
from evaluation.intervals import Z95

Verdict = Literal["pass", "fail", "insufficient"]
ALPHA = 0.05
_DECIMALS = 6


@dataclass(frozen=True)
class Margin:
    """What the plan allows: the largest gap, or for calibration slopes the range in which each must lie; or nothing."""

    largest: float | None = None
    within: tuple[float, float] | None = None

    def to_json(self) -> float | list[float] | None:
        """A number, or [lowest, highest], or null."""
        return self.largest if self.within is None else list(self.within)


@dataclass(frozen=True)
class Row:
    """One comparison. `p` is None where nothing is tested, or where it is tested in the row that `same_as` names."""

    class_name: str
    attribute: str
    figure: str
    threshold: float | None
    family: Family
    margin: Margin
    gap: Gap | None = None
    null_gap: float | None = None
    p: float | None = None
    p_holm: float | None = None
    verdict: Verdict | None = "insufficient"
    worst: Point | None = None
    same_as: str | None = None
    more: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """JSON object; figures are null where they cannot be told."""
        found = self.gap
        fields: dict[str, Any] = {
            "class": self.class_name,
            "attribute": self.attribute,
            "figure": self.figure,
            "threshold": self.threshold,
            "gap": {name: None if found is None else _rounded(getattr(found, name)) for name in ("value", "lo", "hi")},
            "null_gap": _rounded(self.null_gap),
            "p": _rounded(self.p),
            "p_holm": _rounded(self.p_holm),
            "margin": self.margin.to_json(),
            "verdict": self.verdict,
            "lowest": None if found is None else found.lowest,
            "highest": None if found is None else found.highest,
            "worst": _worst(self.worst, len(self.family.points)),
            "groups": [one.name for one in self.family.points],
            "left_out": dict(self.family.left_out),
        }
        if self.same_as is not None:
            fields["same_as"] = self.same_as
        return fields | {name: _rounded(value) for name, value in self.more.items()}


def compared(class_name: str, attribute: str, figure: str, threshold: float | None, family: Family, margin: Margin) -> Row:
    """The row before its verdict, which needs the p-values of all rows; empty if fewer than two groups can be measured."""
    row, points = Row(class_name, attribute, figure, threshold, family, margin), family.points
    if margin == Margin():
        row = replace(row, verdict=None)
    if len(points) < 2:
        return row
    chance = null_gap([one.error for one in points])
    p = None if row.verdict is None else p_above(points)
    return replace(row, gap=gap(points), null_gap=chance, p=p, worst=_farthest(points, figure))


def judged(row: Row, p_holm: float | None) -> Row:
    """The row with its verdict, `p_holm` being its p-value adjusted for all rows."""
    found = row.gap
    if row.verdict is None or found is None or p_holm is None:
        return row
    row = replace(row, p_holm=p_holm)
    if p_holm <= ALPHA and _beyond(row.family.points, found, row.margin):
        return replace(row, verdict="fail")
    return replace(row, verdict="pass" if _within(row.family, row.margin) else "insufficient")


def overall(verdicts: Sequence[Verdict]) -> Verdict:
    """One fail fails; nothing but passes passes; everything else, no verdict at all included, is insufficient."""
    if "fail" in verdicts:
        return "fail"
    return "pass" if verdicts and set(verdicts) == {"pass"} else "insufficient"


def simultaneous(k: int) -> float:
    """The z at which the intervals of `k` groups all hold their truths in 95 of 100 (Sidak)."""
    return NormalDist().inv_cdf(1.0 - (1.0 - (1.0 - ALPHA) ** (1.0 / k)) / 2.0)


def _beyond(points: Sequence[Point], found: Gap, margin: Margin) -> bool:
    if margin.within is None:
        return margin.largest is not None and found.lo > margin.largest
    (low, high), z = margin.within, simultaneous(len(points))
    limits = [one.limits(z) for one in points]
    return any(hi < low or lo > high for lo, hi in limits)


def _within(family: Family, margin: Margin) -> bool:
    points = (*family.points, *family.unknown)
    if margin.within is None:
        return margin.largest is not None and upper(points) <= margin.largest
    low, high = margin.within
    limits = [one.limits(Z95) for one in points]
    return all(low <= lo and hi <= high for lo, hi in limits)


def _farthest(points: Sequence[Point], figure: str) -> Point:
    """The group that fares worst: lowest AUROC and sensitivity, highest false positive rate, ratio farthest from 1."""
    ordered = sorted(points, key=lambda one: one.name)
    if figure in ("auroc", "sensitivity"):
        return min(ordered, key=lambda one: one.value)
    if figure == "false_positive_rate":
        return max(ordered, key=lambda one: one.value)
    return max(ordered, key=lambda one: max(one.value, 1.0 / one.value) if one.value > 0.0 else float("inf"))


def _worst(point: Point | None, k: int) -> dict[str, float | str | None] | None:
    """With an interval that holds the truth in 95 of 100 although the worst of `k` groups was looked for."""
    if point is None:
        return None
    lo, hi = point.limits(simultaneous(k))
    return {"group": point.name, "value": _rounded(point.value), "lo": _rounded(lo), "hi": _rounded(hi)}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DECIMALS)
