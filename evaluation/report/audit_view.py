"""What the page's sections on the audit, the evidence and the crosswalk are filled with, from the report alone."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any

from markupsafe import Markup

from evaluation.report import audit_words as words
from evaluation.report.figures.groups import group_forest
from evaluation.report.figures.probabilities import calibration, decision, distribution
from evaluation.report.left_out import comparisons, why_unmade, with_reasons
from evaluation.report.mitigation_view import mitigation_view
from evaluation.report.plain import plain_summary
from evaluation.report.pooled_within import pooled_within

_SQUARES: dict[str, Callable[[dict[str, Any], str], str | None]] = {
    "calibration": calibration,
    "decision": decision,
    "distribution": distribution,
}
_MOST_ROWS = 40  # of fairness tests that the page opens with


def audit_view(report: dict[str, Any]) -> dict[str, Any]:
    """Context of the templates. `audit` is None where the report has none: the page then says so."""
    audit = report.get("audit")
    context: dict[str, Any] = {"audit": audit, "evidence": report.get("evidence"), "checks": report.get("checks")}
    context |= {
        "crosswalk": report.get("crosswalk"),
        "plain": [],
        "classes": [],
        "tests": {},
        "left_out": None,
        "pooled_within": pooled_within(report),
        "mitigation": mitigation_view(report),
    }
    if audit is None:
        return context
    context["plain"] = plain_summary(report)
    tests = audit["fairness"]["tests"] if audit.get("fairness") else []
    context["tests"] = {
        "first": _first(tests),
        "all": tests,
    }
    private = audit["epsilon"] is not None
    told = with_reasons(tests, audit["classes"])
    context["left_out"] = comparisons(told, audit["smallest_cell"], private=private) if tests else None
    slopes = [group["calibration"]["slope"] for one in audit["classes"] for group in one["groups"]]
    context["no_slope"] = private and any(slope.get("why") == "no_solution" for slope in slopes)
    context["alone_in_sum"] = any(one["attribute"] == "site" for each in audit["classes"] for one in each["groups"])
    context["classes"] = [_class(one, index, audit["smallest_cell"]) for index, one in enumerate(audit["classes"])]
    return context


def _class(one: dict[str, Any], index: int, smallest_cell: int) -> dict[str, Any]:
    families = [(key, list(rows)) for key, rows in groupby(one["groups"], key=lambda group: group["attribute"])]
    everyone = next((group for group in one["groups"] if group["attribute"] == "all"), None)
    wide, narrow = (
        group_forest(one, smallest_cell, f"groups-{index}-{cut}", narrow=cut == "narrow") for cut in ("wide", "narrow")
    )
    both = None if wide is None else Markup(f'<div class="wide">{wide}</div><div class="narrow">{narrow}</div>')  # noqa: S704
    squares = {name: draw(one, f"{name}-{index}") for name, draw in _SQUARES.items()}
    benefits = [each for each in one["decision_curve"] if each["model"]["value"] is not None]
    return {
        "one": one,
        "index": index,
        "benefit": benefits[0] if len(benefits) == 1 else None,
        "families": families,
        "everyone": everyone,
        "forest": both,
        "squares": {name: Markup(svg) for name, svg in squares.items() if svg is not None},  # noqa: S704 -- made by to_svg
    }


def _percent(estimate: dict[str, Any]) -> str:
    return f"{100 * estimate['value']:.1f}%"


def _percents(estimate: dict[str, Any]) -> str:
    return f"{100 * estimate['lo']:.1f}–{100 * estimate['hi']:.1f}%"


def _first(tests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those to look at: all, or of many, most of which may hold no figure, the gaps beyond a margin, else those measured."""
    if len(tests) <= _MOST_ROWS and 2 * sum(map(_made, tests)) >= len(tests):
        return tests
    return [test for test in tests if test["verdict"] == "fail"] or [test for test in tests if _made(test)]


def _made(test: dict[str, Any]) -> bool:
    return test["gap"] is not None and test["gap"]["value"] is not None


def _margin(margin: Any) -> str:
    """One number, or the two ends of a range."""
    if isinstance(margin, dict):
        margin = [margin.get("low", margin.get("lo")), margin.get("high", margin.get("hi"))]
    return f"{margin[0]:g}–{margin[1]:g}" if isinstance(margin, list) else f"{margin:g}"


def _p(value: float | None) -> str:
    return "–" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _shown(value: Any) -> str:
    """A fact of the evidence as text; lists by their length where they are long."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        plain = all(isinstance(one, str | int) for one in value)
        return (", ".join(map(str, value)) or "none") if plain and len(value) <= 8 else f"{len(value)} entries"
    return "none" if value is None else str(value)


def _two(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


AUDIT_FILTERS = {
    "two": _two,
    "family": words.family,
    "figure_name": words.figure_name,
    "why_missing": words.why_missing,
    "why_no_slope": words.why_no_slope,
    "why_unmade": why_unmade,
    "check_state": words.check_state,
    "fair": words.VERDICTS.__getitem__,
    "percent": _percent,
    "percents": _percents,
    "margin": _margin,
    "p_value": _p,
    "shown": _shown,
}
