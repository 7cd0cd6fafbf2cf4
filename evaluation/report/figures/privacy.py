"""Privacy to look at: what the rounds cost a patient, what each part costs, and how small one patient is beside the noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.report.figures.svg import ACCENT, INK, LINE, MUTED, PAPER, add_axes, new_figure, to_svg
from evaluation.report.privacy_local import LOUD_ABOVE, PARTS

_TITLE, _TICKS, _GAP = 26.0, 40.0, 40.0  # CSS pixels
_HEIGHT = 128.0  # of a panel
_BAR = 0.52  # of the room of one bar


def privacy_figure(report: dict[str, Any], name: str, *, narrow: bool) -> str | None:
    """Three panels side by side, or below each other where `narrow`; None without differential privacy."""
    privacy = report["privacy"]
    if privacy["mechanism"] == "none":
        return None
    curve = {one["round"]: float(one["epsilon"]) for one in report["rounds"] if one.get("epsilon") is not None}
    panels: list[tuple[str, float, Callable[[Axes], None]]] = [
        ("Epsilon by part of the patients", 74, lambda axes: _parts(axes, privacy["epsilon_by_part"])),
        ("One step: a patient beside the noise", 92, lambda axes: _noise(axes, privacy)),
    ]
    if curve:
        panels.insert(0, ("Epsilon spent by round", 28, lambda axes: _spent(axes, curve, float(privacy["epsilon"]))))
    return to_svg(_draw(panels, narrow=narrow), name, _label(privacy, curve))


def _draw(panels: Sequence[tuple[str, float, Callable[[Axes], None]]], *, narrow: bool) -> Figure:
    width, step = (350.0, _TITLE + _HEIGHT + _TICKS) if narrow else (800.0, 0.0)
    room = width if narrow else (width - _GAP * (len(panels) - 1)) / len(panels)
    figure = new_figure(width, _TITLE + _HEIGHT + _TICKS + step * (len(panels) - 1))
    for index, (title, left, draw) in enumerate(panels):
        start = 0.0 if narrow else index * (room + _GAP)
        axes = add_axes(figure, start + left, _TITLE + step * index, room - left - 10, _HEIGHT)
        axes.annotate(title, (-left, _HEIGHT + 11), xycoords="axes pixels", color=INK, fontsize=11.5, annotation_clip=False)
        axes.tick_params(axis="y", length=0)
        axes.set_axisbelow(True)
        draw(axes)
    return figure


def _spent(axes: Axes, curve: dict[int, float], epsilon: float) -> None:
    rounds = sorted(curve)
    axes.plot(rounds, [curve[number] for number in rounds], color=ACCENT, linewidth=1.8, marker="o", markersize=3.0)
    axes.set(ylim=(0.0, epsilon * 1.12), xlim=(0, max(rounds) * 1.04 + 0.2), xticks=sorted({rounds[0], rounds[-1]}))
    axes.locator_params(axis="y", nbins=4)
    axes.grid(axis="y", color=LINE, linewidth=0.7)
    axes.set_xlabel("round", fontsize=11, color=MUTED, labelpad=3)


def _parts(axes: Axes, parts: dict[str, float]) -> None:
    values = [float(parts[part]) for part in PARTS]
    _bars(axes, PARTS, values, [ACCENT, MUTED, MUTED], [f"{value:.3g}" for value in values])
    most = max(*values, LOUD_ABOVE)
    axes.axvline(LOUD_ABOVE, color=MUTED, linewidth=0.8, linestyle=(0, (2, 3)), zorder=0)
    axes.set(xlim=(0.0, most * 1.22))
    axes.locator_params(axis="x", nbins=4)
    axes.set_xlabel(f"epsilon; dotted line: {LOUD_ABOVE:g}", fontsize=11, color=MUTED, labelpad=3)


def _noise(axes: Axes, privacy: dict[str, Any]) -> None:
    labels = ("one patient", "noise", f"{privacy['batch_patients']:,} patients")
    values = [1.0, float(privacy["noise_multiplier"]), float(privacy["batch_patients"])]
    _bars(axes, labels, values, [ACCENT, INK, MUTED], [f"{value:.3g}" for value in values])
    axes.set(xlim=(0.0, max(values) * 1.3))
    axes.locator_params(axis="x", nbins=3)
    axes.set_xlabel("clipping norms, one direction", fontsize=11, color=MUTED, labelpad=3)


def _bars(axes: Axes, labels: Sequence[str], values: Sequence[float], colours: Sequence[str], texts: Sequence[str]) -> None:
    places = range(len(labels))
    axes.barh(places, values, height=_BAR, color=list(colours))
    axes.set(ylim=(len(labels) - 0.4, -0.6), yticks=list(places), yticklabels=list(labels))
    for place, value, text in zip(places, values, texts, strict=True):
        box = {"facecolor": PAPER, "edgecolor": "none", "pad": 0.5}
        axes.annotate(
            text, (value, place), (5, 0), textcoords="offset pixels", va="center_baseline", color=INK, fontsize=11, bbox=box
        )


def _label(privacy: dict[str, Any], curve: dict[int, float]) -> str:
    """The three panels for those who cannot see them."""
    spent = [f"round {number} {curve[number]:.2f}" for number in sorted(curve)]
    parts = [f"{part} {float(privacy['epsilon_by_part'][part]):.3g}" for part in PARTS]
    return (
        (f"Epsilon spent by round: {', '.join(spent)}. " if spent else "")
        + f"Epsilon by part of the patients: {', '.join(parts)}. In one step a patient moves the sum of gradients by at most 1 "
        f"clipping norm; the noise has a standard deviation of {float(privacy['noise_multiplier']):.3g} in every direction; "
        f"{privacy['batch_patients']} patients who agree move it by at most as many."
    )
