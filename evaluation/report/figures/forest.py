"""Forest plot: every hospital's AUROC under each model, below the figure for all hospitals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MultipleLocator

from evaluation.report.absence import as_clause
from evaluation.report.figures.marks import draw_diamond, draw_interval
from evaluation.report.figures.svg import ACCENT, INK, LINE, MUTED, PAPER, add_axes, new_figure, short, to_svg
from evaluation.report.missing import missing

_ROW, _GAP, _HEAD, _FOOT = 19.0, 15.0, 10.0, 44.0  # CSS pixels
_LETTER = 6.0  # CSS pixels that a letter of the small text takes, on average
_STYLE = {"federated": ("o", ACCENT), "alone": ("s", MUTED), "personalised": ("^", INK)}


@dataclass(frozen=True)
class _Row:
    kind: str
    estimate: dict[str, Any]


@dataclass(frozen=True)
class _Block:
    title: str
    subtitle: str
    rows: tuple[_Row, ...]
    absence: str | None = None  # why this hospital took no part at all


@dataclass(frozen=True)
class _Cut:
    """Where things stand, in CSS pixels from the left; `stacked` puts a hospital's name above its rows, not beside."""

    width: float
    kinds: float
    plot: tuple[float, float]
    numbers: float | None
    stacked: bool


_WIDE = _Cut(width=800, kinds=190, plot=(290, 620), numbers=645, stacked=False)
_NARROW = _Cut(width=350, kinds=0, plot=(92, 340), numbers=None, stacked=True)


def forest(report: dict[str, Any], name: str, *, narrow: bool) -> str | None:
    """The plot as <svg>; None if no AUROC is estimable.

    Filled: ok; hollow with a broken line: wide; diamond: all hospitals, its width the interval, filled and hollow alike.
    """
    cut, blocks = _NARROW if narrow else _WIDE, _blocks(report)
    if all(row.estimate["value"] is None for row in _rows(blocks)):
        return None
    heights = [_ROW * (len(block.rows) + cut.stacked) + _GAP for block in blocks]
    bottom = _HEAD + sum(heights)
    figure = new_figure(cut.width, bottom + _FOOT)
    page = add_axes(figure, 0, 0, cut.width, bottom + _FOOT)
    page.set(xlim=(0, cut.width), ylim=(bottom + _FOOT, 0))
    page.set_axis_off()
    page.set_zorder(2)  # its texts stand above the plot's lines
    plot = add_axes(figure, cut.plot[0], _HEAD, cut.plot[1] - cut.plot[0], bottom - _HEAD)
    plot.set(xlim=_limits(blocks), ylim=(bottom, _HEAD), yticks=[])
    plot.set_xlabel("AUROC, 95% interval", color=MUTED, fontsize=11, labelpad=6)
    plot.xaxis.set_major_locator(MultipleLocator(0.1))
    plot.xaxis.set_major_formatter("{x:.1f}")
    pooled = blocks[0].rows[0].estimate["value"]
    if pooled is not None:
        plot.axvline(float(pooled), color=ACCENT, linewidth=0.8, linestyle=(0, (2, 3)), zorder=0)
    top = _HEAD
    for index, (block, height) in enumerate(zip(blocks, heights, strict=True)):
        _draw_block(page, plot, cut, block, top, index == 0)
        if index:
            page.axhline(top - 1, color=LINE, linewidth=0.8)
        top += height
    return to_svg(figure, name, _label(blocks))


def _blocks(report: dict[str, Any]) -> list[_Block]:
    overall = report["performance"]
    if overall.get("sums"):  # nothing is known of single hospitals, and a row that says so for each would say nothing
        return [
            _Block("All hospitals", _size(report["cohort"]), tuple(_Row(one["kind"], one["auroc"]) for one in overall["sums"]))
        ]
    rows = (_Row("pooled", overall["global"]["auroc"]), _Row("within", overall["stratified"]["auroc"]))
    scored, known = overall["global"]["n_sites"], len(report["sites"])
    # One that left before the end has test images too, but none of its scores is in the two figures.
    size = _size(report["cohort"]) if scored in (0, known) else f"scored at {scored} of {known}"
    blocks = [_Block("All hospitals", size, rows)]
    for site in report["sites"]:
        models = [("federated", site["auroc"]), ("alone", site["alone"]), ("personalised", site["personalised"])]
        shown = tuple(_Row(kind, estimate) for kind, estimate in models if estimate is not None)
        if len({_numbers(row.estimate) for row in shown}) == 1 and shown[0].estimate["value"] is None:
            shown = (_Row("all models" if len(shown) > 1 else shown[0].kind, shown[0].estimate),)  # said once
        away = site["auroc"].get("why") == "took_no_part"
        size = "took no part" if away and not site["n_test"] else _size(site)
        blocks.append(_Block(short(str(site["id"])), size, shown, as_clause(str(site["never_trained"])) if away else None))
    return blocks


def _size(entry: dict[str, Any]) -> str:
    """How much the figures rest on; by noised counts only about: all classes together."""
    if entry["n_test"] is not None:
        return f"{int(entry['n_test']):,} test images"
    if "n_test" in entry.get("withheld", {}):
        return "withheld"
    patients = entry.get("test_patients")
    if not patients:
        return "counts not released"
    return f"about {sum(int(one['value']) for one in patients.values()):,} patients"


def _draw_block(page: Axes, plot: Axes, cut: _Cut, block: _Block, top: float, overall: bool) -> None:
    text: dict[str, Any] = {"va": "center_baseline", "fontsize": 12}
    small = text | {"fontsize": 11, "color": MUTED}
    first = top + _ROW / 2 + _GAP / 2 - 2
    page.text(0, first, block.title, color=INK, weight="bold", **text)
    if cut.stacked:
        page.text(
            cut.width - 10, first, block.subtitle, ha="right", bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1}, **small
        )
    elif len(block.rows) > 1 and block.subtitle != "withheld":  # its rows say so
        page.text(0, first + _ROW - 2, block.subtitle, **small)
    for index, row in enumerate(block.rows):
        y = first + _ROW * (index + cut.stacked)
        page.text(cut.kinds, y, row.kind, **small)
        if row.estimate["value"] is not None:
            if cut.numbers is not None:
                page.text(cut.numbers, y, _numbers(row.estimate), color=INK, **text)
            if overall:
                draw_diamond(plot, row.estimate, y)
            else:
                marker, colour = _STYLE[row.kind]
                draw_interval(plot, row.estimate, y, marker=marker, colour=colour)
        else:  # why there is no figure stands where it would be: the column of numbers is too narrow for words
            box = {"facecolor": PAPER, "edgecolor": "none", "pad": 1}  # above the pooled line
            page.text(cut.plot[0], y, _cut(block.absence or _numbers(row.estimate), cut), bbox=box, **small)


def _limits(blocks: Sequence[_Block]) -> tuple[float, float]:
    lows = [float(row.estimate["lo"]) for row in _rows(blocks) if row.estimate["lo"] is not None]
    return max(0.0, math.floor(min([*lows, 0.8]) * 10 - 0.2) / 10), 1.01


def _rows(blocks: Sequence[_Block]) -> Iterator[_Row]:
    for block in blocks:
        yield from block.rows


def _numbers(estimate: dict[str, Any]) -> str:
    if estimate["value"] is None:
        return missing(estimate)
    return f"{float(estimate['value']):.3f}  ({float(estimate['lo']):.3f}–{float(estimate['hi']):.3f})"


def _cut(reason: str, cut: _Cut) -> str:
    """`reason` as long as the plot is wide; the table holds the whole."""
    longest = int((cut.plot[1] - cut.plot[0]) / _LETTER)
    return reason if len(reason) <= longest else reason[: longest - 1] + "…"


def _label(blocks: Sequence[_Block]) -> str:
    parts = [
        f"{block.title}, {row.kind} {_numbers(row.estimate)}" + (f" ({block.absence})" if block.absence else "")
        for block in blocks
        for row in block.rows
    ]
    return "Forest plot of AUROC with 95% intervals. " + "; ".join(parts) + "."
