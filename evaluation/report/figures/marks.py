"""How an estimate with its interval is drawn: filled where it is ok, hollow with a broken line where it is wide."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes

from evaluation.report.figures.svg import ACCENT, PAPER

_BROKEN: Any = (0, (3, 2))


def draw_interval(plot: Axes, estimate: dict[str, Any], y: float, *, marker: str = "o", colour: str = ACCENT) -> None:
    """A mark with its interval, lying at height `y`."""
    value, lo, hi = (float(estimate[key]) for key in ("value", "lo", "hi"))
    wide = estimate["status"] != "ok"
    plot.plot([lo, hi], [y, y], color=colour, linewidth=1.6, linestyle=_BROKEN if wide else "-", zorder=2)
    face = PAPER if wide else colour
    plot.plot([value], [y], marker, color=colour, markerfacecolor=face, markersize=6.5, markeredgewidth=1.5, zorder=3)


def draw_diamond(plot: Axes, estimate: dict[str, Any], y: float) -> None:
    """A diamond as wide as the interval: all hospitals together."""
    value, lo, hi = (float(estimate[key]) for key in ("value", "lo", "hi"))
    wide = estimate["status"] != "ok"
    corners = [(lo, y), (value, y - 6), (hi, y), (value, y + 6), (lo, y)]
    style: Any = _BROKEN if wide else "-"
    plot.fill(
        *zip(*corners, strict=True), facecolor=PAPER if wide else ACCENT, edgecolor=ACCENT, linewidth=1.4, linestyle=style
    )


def draw_upright(plot: Axes, estimate: dict[str, Any], x: float) -> None:
    """A mark with its interval, standing at `x`."""
    value, lo, hi = (float(estimate[key]) for key in ("value", "lo", "hi"))
    wide = estimate["status"] != "ok"
    plot.plot([x, x], [lo, hi], color=ACCENT, linewidth=1.4, linestyle=_BROKEN if wide else "-", zorder=2)
    plot.plot(
        [x], [value], "o", color=ACCENT, markerfacecolor=PAPER if wide else ACCENT, markersize=5, markeredgewidth=1.4, zorder=3
    )
