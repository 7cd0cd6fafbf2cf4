"""Forest plot of one class by hospital and by subgroup; whoever is not shown has a row all the same, with the reason."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MultipleLocator

from evaluation.report.audit_words import family, why_missing
from evaluation.report.figures.marks import draw_diamond, draw_interval
from evaluation.report.figures.svg import ACCENT, INK, LINE, MUTED, PAPER, add_axes, new_figure, short, to_svg

_ROW, _GAP, _HEAD, _FOOT = 19.0, 10.0, 6.0, 44.0  # CSS pixels


@dataclass(frozen=True)
class _Cut:
    """Where things stand, in CSS pixels from the left; without `numbers` they are left to the table."""

    width: float
    plot: tuple[float, float]
    numbers: float | None


_WIDE = _Cut(width=800, plot=(200, 545), numbers=570)
_NARROW = _Cut(width=350, plot=(128, 340), numbers=None)
_Family = tuple[str, list[dict[str, Any]]]


def group_forest(one: dict[str, Any], smallest_cell: int, name: str, *, narrow: bool) -> str | None:
    """AUROC of the groups of `one` (an entry of audit.classes) as <svg>; None if none can be shown."""
    cut, groups = _NARROW if narrow else _WIDE, one["groups"]
    shown = [group["auroc"] for group in groups if group["auroc"]["value"] is not None]
    if not shown:
        return None
    families: list[_Family] = [(key, list(rows)) for key, rows in groupby(groups, key=lambda group: str(group["attribute"]))]
    bottom = _HEAD + sum(_height(rows) for _, rows in families)
    figure = new_figure(cut.width, bottom + _FOOT)
    page = add_axes(figure, 0, 0, cut.width, bottom + _FOOT)
    page.set(xlim=(0, cut.width), ylim=(bottom + _FOOT, 0))
    page.set_axis_off()
    page.set_zorder(2)  # its texts stand above the plot's lines
    plot = add_axes(figure, cut.plot[0], _HEAD, cut.plot[1] - cut.plot[0], bottom - _HEAD)
    low = max(0.0, math.floor(min(*(float(each["lo"]) for each in shown), 0.8) * 10 - 0.2) / 10)
    plot.set(xlim=(low, 1.01), ylim=(bottom, _HEAD), yticks=[])
    plot.set_xlabel("AUROC, 95% interval", color=MUTED, fontsize=11, labelpad=6)
    plot.xaxis.set_major_locator(MultipleLocator(0.2 if narrow and low < 0.5 else 0.1))
    plot.xaxis.set_major_formatter("{x:.1f}")
    whole = next((group["auroc"]["value"] for group in groups if group["attribute"] == "all"), None)
    if whole is not None:
        plot.axvline(float(whole), color=ACCENT, linewidth=0.8, linestyle=(0, (2, 3)), zorder=0)
    top = _HEAD
    for index, (attribute, rows) in enumerate(families):
        if index:
            page.axhline(top, color=LINE, linewidth=0.8)
        _draw_family(page, plot, cut, attribute, rows, top, smallest_cell)
        top += _height(rows)
    return to_svg(figure, name, _label(one, smallest_cell))


def _height(rows: list[dict[str, Any]]) -> float:
    """Of a family: its rows and, but for everyone, its heading."""
    return _ROW * (len(rows) + int(rows[0]["attribute"] != "all")) + _GAP


def _draw_family(
    page: Axes, plot: Axes, cut: _Cut, attribute: str, rows: list[dict[str, Any]], top: float, smallest_cell: int
) -> None:
    text: dict[str, Any] = {"va": "center_baseline", "fontsize": 12}
    small = text | {"fontsize": 11, "color": MUTED}
    y = top + _GAP / 2 + _ROW / 2
    if attribute != "all":
        page.text(0, y, family(attribute), color=INK, weight="bold", **text)
        y += _ROW
    for row in rows:
        auroc, overall = row["auroc"], row["attribute"] == "all"
        label = family("all") if overall else short(str(row["value"]))
        page.text(0 if overall else 10, y, label, color=INK, weight="bold" if overall else "normal", **text)
        if auroc["value"] is None:
            box = {"facecolor": PAPER, "edgecolor": "none", "pad": 1}  # above the line of all
            page.text(
                cut.plot[0] + 4, y, why_missing(auroc, smallest_cell) if cut.numbers else _brief(auroc), bbox=box, **small
            )
        else:
            (draw_diamond if overall else draw_interval)(plot, auroc, y)
            if cut.numbers is not None:
                page.text(cut.numbers, y, _numbers(auroc), color=INK, **text)
                page.text(cut.width, y, _size(row), ha="right", **small)
        y += _ROW


def _brief(auroc: dict[str, Any]) -> str:
    return "not shown (small group)" if auroc["status"] == "suppressed" else why_missing(auroc, 0)


def _numbers(auroc: dict[str, Any]) -> str:
    return f"{float(auroc['value']):.3f}  ({float(auroc['lo']):.3f}–{float(auroc['hi']):.3f})"


def _size(row: dict[str, Any]) -> str:
    return "" if row["events"] is None or row["n"] is None else f"{row['events']:,} of {row['n']:,}"


def _label(one: dict[str, Any], smallest_cell: int) -> str:
    parts = [
        f"{family(row['attribute'])}{'' if row['attribute'] == 'all' else ' ' + str(row['value'])} "
        + (_numbers(row["auroc"]) if row["auroc"]["value"] is not None else why_missing(row["auroc"], smallest_cell))
        for row in one["groups"]
    ]
    return f"Forest plot of AUROC for {one['name']} by hospital and subgroup, 95% intervals. " + "; ".join(parts) + "."
