"""Two jobs of which one scored the other's model too: its audit's paired differences as `fedward audit compare` shows them.

Both sides and their difference are of one audit and its test patients, so nothing is refused for a cohort that changed by few.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Key = tuple[str, str, str, str, float | None]  # class, attribute, value, figure, threshold
_FIGURES = ("auroc", "average_precision")
_VERDICTS = {("better", 1): "higher", ("better", -1): "lower", ("worse", 1): "lower", ("worse", -1): "higher"}
_ENDS = ("value", "lo", "hi")
Report = Mapping[str, Any]


def measured_by(a: Report, b: Report) -> Literal["a", "b"] | None:
    """Whose audit scored the other's released model on its own test patients: b's if both did, None if neither."""
    if _scored(b, a):
        return "b"
    return "a" if _scored(a, b) else None


def _scored(one: Report, other: Report) -> bool:
    released = other["model"].get("digest")
    versus = (one.get("audit") or {}).get("versus_baseline")
    return versus is not None and released is not None and one["model"].get("compared_with") == released


def paired_rows(report: Report, *, sign: int) -> dict[Key, dict[str, Any]]:
    """Rows of `compare_reports` from the audit of `report`, which scored the other model; `sign` -1: the other minus this."""
    audit = report["audit"]
    own = {(one["name"], group["attribute"], group["value"]): group for one in audit["classes"] for group in one["groups"]}
    return {
        (one["name"], group["attribute"], group["value"], figure, None): _row(
            (one["name"], group["attribute"], group["value"], figure),
            own[one["name"], group["attribute"], group["value"]][figure],
            group["baseline"][figure],
            group[figure],
            sign,
        )
        for one in audit["versus_baseline"]["classes"]
        for group in one["groups"]
        for figure in _FIGURES
    }


def _row(
    key: tuple[str, str, str, str],
    own: Mapping[str, Any],
    other: Mapping[str, Any],
    difference: Mapping[str, Any],
    sign: int,
) -> dict[str, Any]:
    names = ("a", "b") if sign > 0 else ("b", "a")
    row = dict(zip(("class", "attribute", "value", "figure"), key, strict=True)) | {"threshold": None}
    sides = {name: {end: one[end] for end in _ENDS} for name, one in zip(names, (other, own), strict=True)}
    numbers: tuple[float | None, ...] = tuple(difference[end] for end in _ENDS)
    if difference["value"] is not None and sign < 0:
        numbers = (-difference["value"], -difference["hi"], -difference["lo"])
    verdict = _VERDICTS.get((difference["verdict"], sign), difference["verdict"])
    return row | {
        "a": sides["a"],
        "b": sides["b"],
        "difference": dict(zip(_ENDS, (None if one is None else one + 0.0 for one in numbers), strict=True)),
        "verdict": verdict,
        "method": difference["method"],
    }
