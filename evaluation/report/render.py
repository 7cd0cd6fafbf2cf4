"""report.json's content as one HTML page: from that content alone, the same bytes every time, nothing loaded from outside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError
from markupsafe import Markup

from evaluation.comparison import PAIRED
from evaluation.report.absence import as_clause
from evaluation.report.audit_view import AUDIT_FILTERS, audit_view
from evaluation.report.build import SCHEMA_VERSION
from evaluation.report.figures.curves import auroc_curves, loss_curves
from evaluation.report.figures.forest import forest
from evaluation.report.figures.privacy import privacy_figure
from evaluation.report.missing import count_words, missing
from evaluation.report.own_code import own_code, plan_view
from evaluation.report.texts import how_personalised
from evaluation.report.versus_view import versus_view
from protocol.errors import EvaluationError

_HERE = Path(__file__).parent
_DRAWINGS = {"forest": forest, "auroc": auroc_curves, "loss": loss_curves, "privacy": privacy_figure}
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
VERDICTS = {
    "better": "better than alone",
    "worse": "worse than alone",
    "no_clear_difference": "no clear difference",
    "not_estimable": "not compared",
}


def render_html(report: dict[str, Any]) -> str:
    """The page. Raises EvaluationError if `report` is not a report this release can show."""
    version = report.get("schema_version")
    if version != SCHEMA_VERSION:
        raise EvaluationError(f"schema_version is {version!r}; this release shows {SCHEMA_VERSION!r}.")
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= _FILTERS | AUDIT_FILTERS
    style = Markup(style_sheet())  # noqa: S704 -- our own file
    try:
        columns = _columns(report["rounds"])
        figures = {name: _both_cuts(name, report) for name in _DRAWINGS}
        context = {
            "r": report,
            "style": style,
            "figures": figures,
            "columns": columns,
            "failures": _failures(columns),
            "unpaired": _unpaired(report["sites"]),
            "how_personalised": how_personalised(report),
            "private": report["privacy"]["mechanism"] != "none",
            "sums": report["performance"].get("sums"),
            "rejected": _rejected(columns),
            "slow": _slow(columns),
        }
        context |= audit_view(report) | {"versus": versus_view(report)}
        return environment.get_template("template.html.j2").render(context) + "\n"
    except (TemplateError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise EvaluationError(f"this is not a whole report: {type(error).__name__}: {error}.") from error


def style_sheet() -> str:
    """The page's only style sheet."""
    return (_HERE / "style.css").read_text(encoding="utf-8")


def _columns(rounds: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rounds with `nth`, the how-manieth attempt at this round each one is, counted from 1."""
    seen: dict[int, int] = {}
    columns = []
    for one in rounds:
        nth = seen[one["round"]] = seen.get(one["round"], 0) + 1
        columns.append(one | {"nth": nth})
    return columns


def _failures(columns: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Who failed, why and in which rounds; one entry per reason and set of rounds, in order of first failure."""
    rounds: dict[tuple[str, str], list[str]] = {}
    for one in columns:
        where = f"{one['round']}" + (f" (attempt {one['nth']})" if one["nth"] > 1 else "")
        for site, reason in one["failures"].items():
            rounds.setdefault((reason, site), []).append(where)
    together: dict[tuple[str, str], list[str]] = {}
    for (reason, site), where_all in rounds.items():
        together.setdefault((reason, _in_runs(where_all)), []).append(site)
    return [{"sites": sites, "reason": reason, "rounds": where} for (reason, where), sites in together.items()]


def _in_runs(rounds: Sequence[str]) -> str:
    """`1, 4 to 60, 62 (attempt 2)`: three or more that follow one another are said by the first and the last."""
    runs: list[list[str]] = []
    for one in rounds:
        follows = runs and one.isdigit() and runs[-1][-1].isdigit() and int(one) == int(runs[-1][-1]) + 1
        if follows:
            runs[-1].append(one)
        else:
            runs.append([one])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(run) for run in runs)


def _rejected(columns: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """Which rounds the guard rejected, and why; one entry per reason. Reports of earlier releases do not say."""
    rounds: dict[str, list[str]] = {}
    for one in columns:
        if (reason := one.get("rejected")) is not None:
            rounds.setdefault(reason, []).append(str(one["round"]))
    return [{"reason": reason, "rounds": _in_runs(numbers)} for reason, numbers in rounds.items()]


def _slow(columns: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sites that had not the time for all of their steps: in how many of their rounds, and how much of the work they did there.

    Reports of earlier releases do not say.
    """
    shares: dict[str, list[float]] = {}
    for one in columns:
        for site, work in one.get("work", {}).items():
            shares.setdefault(site, []).append(work)
    short = {site: [work for work in found if work < 1.0] for site, found in shares.items()}
    return [
        {"site": site, "rounds": len(less), "of": len(shares[site]), "work": sum(less) / len(less)}
        for site, less in sorted(short.items())
        if less
    ]


def _unpaired(sites: Sequence[dict[str, Any]]) -> list[str]:
    """Sites where a difference from `alone` was judged without pairing; reports of earlier releases, without `method`, too."""
    return [
        site["id"]
        for site in sites
        if any(one["value"] is not None and one.get("method") != PAIRED for one in (site["versus_alone"] or {}).values())
    ]


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


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _moment(iso: str) -> str:
    moment = datetime.fromisoformat(iso)
    return f"{moment.day} {_MONTHS[moment.month - 1]} {moment.year}, {moment:%H:%M} {moment.tzname() or ''}".strip()


def _duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if hours < 2 else f"{hours:.1f} h"


def _thousands(number: int) -> str:
    return f"{number:,}"


def _about(patients: dict[str, dict[str, int]] | None) -> list[str]:
    """Estimated numbers of patients: "560 (510–610) pneumonia", "840 (790–890) the rest"."""
    return [f"{one['value']:,} ({one['lo']:,}–{one['hi']:,}) {name}" for name, one in (patients or {}).items()]


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


_FILTERS = {
    "three": _three,
    "interval": _interval,
    "signed": _signed,
    "moment": _moment,
    "duration": _duration,
    "thousands": _thousands,
    "pretty": _pretty,
    "own_code": own_code,
    "plan_view": plan_view,
    "about": _about,
    "verdict": VERDICTS.__getitem__,
    "missing": missing,
    "counted": count_words,
    "clause": as_clause,
}
