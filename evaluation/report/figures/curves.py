"""Learning curves as small multiples: one panel for all hospitals, one per hospital, all on the same axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from evaluation.report.figures.svg import ACCENT, FAINT, INK, LINE, MUTED, add_axes, new_figure, short, to_svg

_HEIGHT, _TITLE, _TICKS, _LEFT, _BETWEEN = 92.0, 24.0, 36.0, 34.0, 18.0  # CSS pixels
_FEW_POINTS = 12  # up to so many, each round is marked

Curve = Mapping[int, Any]  # round -> loss, or round -> estimate


def auroc_curves(report: dict[str, Any], name: str, *, narrow: bool) -> str | None:
    """Validation AUROC by round with its interval, the pooled curve in grey behind each hospital's; None if there is none."""
    overall = _last_attempts(report, lambda one: {"": one["validation_global"]} if one["validation_global"] else {}).get("", {})
    overall = _shown(overall)
    sites = {site: _shown(curve) for site, curve in _last_attempts(report, lambda one: one["validation"]).items()}
    if not overall and not any(sites.values()):
        return None
    low = min(float(one["lo"]) for curve in (overall, *sites.values()) for one in curve.values())
    limits = (max(0.0, math.floor(low * 10) / 10), 1.02)

    def draw(axes: Axes, curve: Curve) -> None:
        _line(axes, {number: one["value"] for number, one in overall.items()}, MUTED, 1.1)
        rounds = sorted(curve)
        lows, highs = ([float(curve[number][key]) for number in rounds] for key in ("lo", "hi"))
        axes.fill_between(rounds, lows, highs, color=ACCENT, alpha=0.16, linewidth=0)
        _line(axes, {number: curve[number]["value"] for number in rounds}, ACCENT, 1.8)

    label = "Validation AUROC by round. " + _ends({"all hospitals": overall} | sites, lambda one: one["value"])
    few = "too few images" if report["privacy"]["mechanism"] == "none" else "too few for the noise"
    return _panels({"All hospitals, pooled": overall} | sites, draw, limits, name, label, narrow=narrow, few=few)


def loss_curves(report: dict[str, Any], name: str, *, narrow: bool) -> str | None:
    """Training loss by round, the other hospitals in grey behind each; None if no round reported one."""
    sites = _last_attempts(report, lambda one: one["train_loss"])
    if not sites:
        return None
    values = [float(loss) for curve in sites.values() for loss in curve.values()]
    limits = (min(0.0, min(values)), (max(values) or 1.0) * 1.06)

    def draw(axes: Axes, curve: Curve) -> None:
        for other in sites.values():
            _line(axes, other, FAINT, 1.0)
        _line(axes, curve, ACCENT, 1.8)

    label = "Training loss by round. " + _ends(sites, lambda loss: loss)
    return _panels(sites, draw, limits, name, label, narrow=narrow)


def _last_attempts(report: dict[str, Any], of: Callable[[dict[str, Any]], Mapping[str, Any]]) -> dict[str, dict[int, Any]]:
    """site -> round -> value, a later attempt at a round standing for the earlier one."""
    curves: dict[str, dict[int, Any]] = {}
    for one in report["rounds"]:
        for site, value in of(one).items():
            curves.setdefault(site, {})[int(one["round"])] = value
    return dict(sorted(curves.items()))


def _shown(curve: Mapping[int, Any]) -> dict[int, Any]:
    return {number: one for number, one in curve.items() if one["value"] is not None}


def _line(axes: Axes, curve: Curve, colour: str, width: float) -> None:
    rounds = sorted(curve)
    marker: dict[str, Any] = {"marker": "o", "markersize": 3.0} if len(rounds) <= _FEW_POINTS and colour == ACCENT else {}
    axes.plot(rounds, [float(curve[number]) for number in rounds], color=colour, linewidth=width, **marker)


def _panels(
    curves: Mapping[str, Curve],
    draw: Callable[[Axes, Curve], None],
    limits: tuple[float, float],
    name: str,
    label: str,
    *,
    narrow: bool,
    few: str = "too few images",
) -> str:
    width, most = (350.0, 2) if narrow else (800.0, 4)
    rows = -(-len(curves) // most)
    columns = min(most, max(2, -(-len(curves) // rows)))
    panel = (width - _LEFT - 8 - _BETWEEN * (columns - 1)) / columns
    step = _TITLE + _HEIGHT + _TICKS
    figure = new_figure(width, rows * step)
    rounds = [number for curve in curves.values() for number in curve]
    for index, (title, curve) in enumerate(curves.items()):
        row, column = divmod(index, columns)
        left, top = _LEFT + column * (panel + _BETWEEN), row * step + _TITLE
        axes = add_axes(figure, left, top, panel, _HEIGHT)
        axes.set_title(short(title), loc="left", fontsize=11.5, color=INK, pad=6)
        axes.set(xlim=_span(rounds), ylim=limits, xticks=_ticks(rounds))
        axes.locator_params(axis="y", nbins=4)
        axes.tick_params(axis="y", length=0, labelleft=column == 0)
        axes.grid(axis="y", color=LINE, linewidth=0.7)
        axes.set_axisbelow(True)
        if curve:
            draw(axes, curve)
        else:
            axes.text(0.5, 0.5, few, transform=axes.transAxes, ha="center", color=MUTED, fontsize=11)
        if row == rows - 1 or index + columns >= len(curves):
            axes.set_xlabel("round", fontsize=11, color=MUTED, labelpad=1)
    return to_svg(figure, name, label)


def _span(rounds: Sequence[int]) -> tuple[float, float]:
    first, last = min(rounds), max(rounds)
    pad = max(0.4, (last - first) * 0.04)
    return first - pad, last + pad


def _ticks(rounds: Sequence[int]) -> list[int]:
    first, last = min(rounds), max(rounds)
    middle = (first + last) // 2
    return sorted({first, middle, last} if last - first > 2 else set(range(first, last + 1)))


def _ends(curves: Mapping[str, Curve], value: Callable[[Any], float]) -> str:
    """What the curves say to those who cannot see them: where each begins and ends."""
    parts = []
    for title, curve in curves.items():
        if curve:
            first, last = min(curve), max(curve)
            parts.append(
                f"{title} {float(value(curve[first])):.3f} at round {first}, {float(value(curve[last])):.3f} at round {last}"
            )
        else:
            parts.append(f"{title} has no curve, too few cases")
    return "; ".join(parts) + "."
