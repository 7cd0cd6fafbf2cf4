"""Forest plot of paired differences by hospital and by subgroup, around 0; whoever is not shown has a row all the same."""

from __future__ import annotations

import math
from itertools import groupby
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from evaluation.report.audit_words import family, why_missing
from evaluation.report.figures.marks import draw_diamond, draw_interval
from evaluation.report.figures.svg import INK, LINE, MUTED, PAPER, add_axes, new_figure, short, to_svg

_ROW, _GAP, _HEAD, _FOOT = 19.0, 10.0, 6.0, 44.0  # CSS pixels
_WIDE, _NARROW = (800.0, (200.0, 545.0), 570.0), (350.0, (128.0, 340.0), None)  # width, plot, where numbers stand


def difference_forest(rows: list[dict[str, Any]], label: str, smallest_cell: int, name: str, *, narrow: bool) -> str | None:
    """The plot as <svg>; None if no difference can be shown.

    `rows` have `attribute`, `value` and `difference`: value, lo and hi (null where it is not shown), `status` and `why`.
    """
    width, (left, right), numbers = _NARROW if narrow else _WIDE
    shown = [row["difference"] for row in rows if row["difference"]["value"] is not None]
    if not shown:
        return None
    families = [(key, list(members)) for key, members in groupby(rows, key=lambda row: str(row["attribute"]))]
    bottom = _HEAD + sum(_ROW * (len(members) + int(key != "all")) + _GAP for key, members in families)
    figure = new_figure(width, bottom + _FOOT)
    page = add_axes(figure, 0, 0, width, bottom + _FOOT)
    page.set(xlim=(0, width), ylim=(bottom + _FOOT, 0))
    page.set_axis_off()
    page.set_zorder(2)  # its texts stand above the plot's lines
    plot = add_axes(figure, left, _HEAD, right - left, bottom - _HEAD)
    far = math.ceil(max(max(abs(float(one["lo"])), abs(float(one["hi"]))) for one in shown) * 50 + 0.2) / 50
    plot.set(xlim=(-far, far), ylim=(bottom, _HEAD), yticks=[])
    plot.set_xlabel("difference of the AUROCs, 95% interval", color=MUTED, fontsize=11, labelpad=6)
    plot.xaxis.set_major_locator(MaxNLocator(4 if narrow else 8, symmetric=True))
    digits = _digits([float(tick) for tick in plot.get_xticks()])
    plot.xaxis.set_major_formatter(lambda x, _: "0" if abs(x) < 1e-9 else f"{x:+.{digits}f}".replace("-", "−"))
    plot.axvline(0.0, color=MUTED, linewidth=0.8, linestyle=(0, (2, 3)), zorder=0)
    y = _HEAD + _GAP / 2 + _ROW / 2
    for index, (key, members) in enumerate(families):
        if index:
            page.axhline(y - _ROW / 2 - _GAP / 2, color=LINE, linewidth=0.8)
        if key != "all":
            page.text(0, y, family(key), color=INK, weight="bold", va="center_baseline", fontsize=12)
            y += _ROW
        for row in members:
            _draw(page, plot, row, y, (left, numbers, smallest_cell))
            y += _ROW
        y += _GAP
    return to_svg(figure, name, _label(rows, label, smallest_cell))


def _digits(ticks: list[float]) -> int:
    """Decimals that tell every tick as it is: rounded ones would stand at uneven distances."""
    return next((digits for digits in (2, 3) if all(abs(tick - round(tick, digits)) < 1e-9 for tick in ticks)), 4)


def _draw(page: Axes, plot: Axes, row: dict[str, Any], y: float, cut: tuple[float, float | None, int]) -> None:
    text: dict[str, Any] = {"va": "center_baseline", "fontsize": 12}
    left, numbers, smallest_cell = cut
    one, overall = row["difference"], row["attribute"] == "all"
    name = family("all") if overall else short(str(row["value"]))
    page.text(0 if overall else 10, y, name, color=INK, weight="bold" if overall else "normal", **text)
    if one["value"] is None:
        brief = numbers is None and one["status"] == "suppressed"
        words = "not shown (small group)" if brief else why_missing(one, smallest_cell)
        box = {"facecolor": PAPER, "edgecolor": "none", "pad": 1}  # above the line of no difference
        page.text(left + 4, y, words, bbox=box, **text | {"fontsize": 11, "color": MUTED})
        return
    (draw_diamond if overall else draw_interval)(plot, one, y)
    if numbers is not None:
        page.text(numbers, y, _numbers(one), color=INK, **text)


def _numbers(one: dict[str, Any]) -> str:
    value, lo, hi = (f"{float(one[end]):+.3f}".replace("-", "−") for end in ("value", "lo", "hi"))
    return f"{value}  ({lo} to {hi})"


def _label(rows: list[dict[str, Any]], label: str, smallest_cell: int) -> str:
    parts = [
        f"{family(row['attribute'])}{'' if row['attribute'] == 'all' else ' ' + str(row['value'])} "
        + (
            _numbers(row["difference"])
            if row["difference"]["value"] is not None
            else why_missing(row["difference"], smallest_cell)
        )
        for row in rows
    ]
    return (
        f"Forest plot of differences of AUROCs for {label} by hospital and subgroup, 95% intervals. " + "; ".join(parts) + "."
    )
