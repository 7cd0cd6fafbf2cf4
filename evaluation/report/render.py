"""report.json's content as one HTML page: from that content alone, the same bytes every time, nothing loaded from outside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError
from markupsafe import Markup

from evaluation.report.build import SCHEMA_VERSION
from evaluation.report.figures.curves import auroc_curves, loss_curves
from evaluation.report.figures.forest import forest
from protocol.errors import EvaluationError

_HERE = Path(__file__).parent
_DRAWINGS = {"forest": forest, "auroc": auroc_curves, "loss": loss_curves}
VERDICTS = {
    "better": "better than alone",
    "worse": "worse than alone",
    "no_clear_difference": "no clear difference",
    "not_estimable": "too few test images",
}


def render_html(report: dict[str, Any]) -> str:
    """The page. Raises EvaluationError if `report` is not a report this release can show."""
    version = report.get("schema_version")
    if version != SCHEMA_VERSION:
        raise EvaluationError(f"schema_version is {version!r}; this release shows {SCHEMA_VERSION!r}.")
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= _FILTERS
    style = Markup((_HERE / "style.css").read_text(encoding="utf-8"))  # noqa: S704 -- our own file
    try:
        figures = {name: _both_cuts(name, report) for name in _DRAWINGS}
        context = {"r": report, "style": style, "figures": figures, "failures": failures(report["rounds"])}
        return environment.get_template("template.html.j2").render(context) + "\n"
    except (TemplateError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise EvaluationError(f"this is not a whole report: {type(error).__name__}: {error}.") from error


def failures(rounds: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Who failed, why and in which rounds; one entry per site and reason, in order of first failure."""
    found: dict[tuple[str, str], list[str]] = {}
    for one in rounds:
        where = f"{one['round']}" + (f" (attempt {one['attempt']})" if one["attempt"] > 1 else "")
        for site, reason in one["failures"].items():
            found.setdefault((site, reason), []).append(where)
    return [{"site": site, "reason": reason, "rounds": where} for (site, reason), where in found.items()]


def _both_cuts(name: str, report: dict[str, Any]) -> Markup | None:
    """The figure for wide screens and paper, and for telephones; the style sheet shows one of them."""
    draw = _DRAWINGS[name]
    wide, narrow = draw(report, f"{name}-wide", narrow=False), draw(report, f"{name}-narrow", narrow=True)
    if wide is None or narrow is None:
        return None
    return Markup(f'<div class="wide">{wide}</div><div class="narrow">{narrow}</div>')  # noqa: S704 -- made by to_svg


def _three(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _interval(estimate: dict[str, Any]) -> str:
    return f"{estimate['lo']:.3f}–{estimate['hi']:.3f}"


def _estimate(estimate: dict[str, Any] | None) -> str:
    if estimate is None:
        return "–"
    return "too few test images" if estimate["value"] is None else f"{estimate['value']:.3f} ({_interval(estimate)})"


def _signed(difference: dict[str, Any]) -> str:
    if difference["value"] is None:
        return "–"
    value, lo, hi = (f"{difference[key]:+.3f}".replace("-", "−") for key in ("value", "lo", "hi"))
    return f"{value} ({lo} to {hi})"


def _count(number: int) -> str:
    return f"{number:,}"


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


_FILTERS = {
    "three": _three,
    "interval": _interval,
    "estimate": _estimate,
    "signed": _signed,
    "count": _count,
    "pretty": _pretty,
    "verdict": VERDICTS.__getitem__,
}
