"""Are the scores right as probabilities, of use, and apart? Calibration, decision curve and score distribution of one class."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.report.figures.marks import draw_upright
from evaluation.report.figures.svg import ACCENT, INK, LINE, MUTED, PAPER, add_axes, new_figure, to_svg

_WIDTH, _HEIGHT, _LEFT, _TOP, _FOOT = 370.0, 250.0, 46.0, 12.0, 46.0  # CSS pixels
_DOTS: Any = (0, (2, 3))
_DASHES: Any = (0, (5, 3))


def calibration(one: dict[str, Any], name: str) -> str | None:
    """Observed share of positives against the predicted one, everyone together; None if no bin can be shown."""
    points = [each for each in one["calibration_curve"] if each["observed"]["value"] is not None]
    if not points:
        return None
    figure, axes = _square("predicted probability", "observed share")
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle=_DOTS)
    places = [float(each["predicted"]) for each in points]
    axes.plot(places, [float(each["observed"]["value"]) for each in points], color=ACCENT, linewidth=0.8, alpha=0.5)
    for each, x in zip(points, places, strict=True):
        draw_upright(axes, each["observed"], x)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    _tenths(axes)
    said = "; ".join(f"{x:.2f} predicted, {float(each['observed']['value']):.2f} observed" for each, x in zip(points, places))  # noqa: B905
    return to_svg(figure, name, f"Calibration plot for {one['name']}, everyone. {said}.")


def decision(one: dict[str, Any], name: str) -> str | None:
    """Net benefit by threshold beside calling everyone and nobody; None below two thresholds, which make no curve."""
    points = [each for each in one["decision_curve"] if each["model"]["value"] is not None]
    if len(points) < 2:
        return None
    figure, axes = _square("threshold probability", "net benefit")
    x = [float(each["threshold"]) for each in points]
    value, low, high = ([float(each["model"][key]) for each in points] for key in ("value", "lo", "hi"))
    top = max(*high, *_known(points, "treat_all"), 0.01)
    bottom = -0.22 * top
    axes.axhline(0.0, color=INK, linewidth=1.0)
    every = [(t, all_) for t, each in zip(x, points, strict=True) if (all_ := _number(each["treat_all"])) is not None]
    axes.plot([t for t, _ in every], [y for _, y in every], color=MUTED, linewidth=1.3, linestyle=_DASHES)
    axes.fill_between(x, low, high, color=ACCENT, alpha=0.16, linewidth=0)
    axes.plot(x, value, color=ACCENT, linewidth=1.8, marker="o", markersize=3.0)
    axes.set(xlim=(0.0, 1.0), ylim=(bottom, top * 1.08))
    _tenths(axes, y=False)
    axes.locator_params(axis="y", nbins=5)
    _name(axes, "nobody called", (0.985, 0.0), INK, (0, -9))
    if every:
        at = min(every, key=lambda each: abs(each[1] - 0.2 * top))
        _name(axes, "everyone called", at, MUTED, (8, 0), right=False)
    middle = len(x) // 2
    _name(axes, "model", (x[middle], value[middle]), ACCENT, (6, 8), right=False)
    said = "; ".join(f"at {t:g} {y:.3f}" for t, y in zip(x, value, strict=True))
    return to_svg(figure, name, f"Decision curve for {one['name']}: net benefit of the model {said}; calling nobody gives 0.")


def distribution(one: dict[str, Any], name: str) -> str | None:
    """How the scores of those with and without the class lie, as shares of each; None if it may not be shown."""
    found = one.get("score_distribution")
    if not found or not found.get("positive") or not found.get("negative"):
        return None
    edges = [0.0, *(float(edge) for edge in found["edges"]), 1.0]
    figure, axes = _square("score (probability)", "density")
    tops = []
    for key, colour, style, fill in (("negative", MUTED, _DASHES, False), ("positive", ACCENT, "-", True)):
        counts = [max(0.0, float(count)) for count in found[key]]
        whole = sum(counts) or 1.0
        heights = [count / whole / max(b - a, 1e-9) for count, (a, b) in zip(counts, pairwise(edges), strict=True)]
        tops += heights
        if fill:
            axes.stairs(heights, edges, fill=True, color=colour, alpha=0.16, linewidth=0)
        axes.stairs(heights, edges, color=colour, linewidth=1.5, linestyle=style)
    # The first and last bins are narrow where a model is sure of itself: a root keeps the middle visible.
    axes.set_yscale("function", functions=(_root, _square_of))
    axes.set(xlim=(0.0, 1.0), ylim=(0.0, max(tops) * 1.1))
    _tenths(axes, y=False)
    axes.locator_params(axis="y", nbins=4)
    _legend(axes, one["name"])
    sizes = {key: sum(found[key]) for key in ("positive", "negative")}
    return to_svg(
        figure,
        name,
        f"Distribution of scores for {one['name']}: shares of {sizes['positive']:,} with it and {sizes['negative']:,} without.",
    )


def _square(x: str, y: str) -> tuple[Figure, Axes]:
    figure = new_figure(_WIDTH, _TOP + _HEIGHT + _FOOT)
    axes = add_axes(figure, _LEFT, _TOP, _WIDTH - _LEFT - 8, _HEIGHT)
    axes.grid(color=LINE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(x, fontsize=11, color=MUTED, labelpad=4)
    axes.set_ylabel(y, fontsize=11, color=MUTED, labelpad=4)
    return figure, axes


def _tenths(axes: Axes, *, y: bool = True) -> None:
    ticks = [0.0, 0.25, 0.5, 0.75, 1.0]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    if y:
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])


def _name(
    axes: Axes, text: str, at: tuple[float, float], colour: str, away: tuple[float, float], *, right: bool = True
) -> None:
    axes.annotate(
        text,
        at,
        away,
        textcoords="offset pixels",
        ha="right" if right else "left",
        va="center_baseline",
        color=colour,
        fontsize=11,
        bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.5},
    )


def _legend(axes: Axes, name: str) -> None:
    for place, text, colour in ((0.93, f"with {name}", ACCENT), (0.85, f"without {name} (broken line)", MUTED)):
        axes.text(
            0.5,
            place,
            text,
            transform=axes.transAxes,
            ha="center",
            color=colour,
            fontsize=11,
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1},
        )


def _number(value: Any) -> float | None:
    """Of a figure that is a number or an estimate."""
    found = value["value"] if isinstance(value, dict) else value
    return None if found is None else float(found)


def _known(points: list[dict[str, Any]], key: str) -> list[float]:
    return [found for each in points if (found := _number(each[key])) is not None]


def _root(x: Any) -> Any:
    return abs(x) ** 0.5


def _square_of(x: Any) -> Any:
    return x**2
