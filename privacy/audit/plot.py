"""The canaries' scores as a picture: what an adversary could tell apart, beside the claim and what was proven."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from privacy.audit.report import AuditReport

_INK, _MUTED = "#1b2530", "#55606e"
_OUT, _IN, _CLAIM = "#0072b2", "#e69f00", "#b3261e"
"""Blue and orange of Okabe and Ito, told apart with every kind of colour vision; one is filled, the other hatched."""


def draw(report: AuditReport, title: str, path: Path) -> None:
    """Write the picture to `path`, whose ending says the format: png, svg or pdf. Raises OSError."""
    figure = Figure(figsize=(9.0, 4.2), facecolor="white", layout="constrained")
    histograms, scale = figure.subplots(1, 2, width_ratios=(2.6, 1.0))
    _histograms(histograms, report)
    _scale(scale, report)
    head = "VIOLATION" if report.violations else "no violation found"
    figure.suptitle(f"{title}: {head}", x=0.012, ha="left", color=_CLAIM if report.violations else _INK, fontweight="bold")
    figure.savefig(path, dpi=160)


def _histograms(axes: Axes, report: AuditReport) -> None:
    scores, included = report.scores.scores, report.scores.included
    low, high = np.quantile(scores, (0.001, 0.999))  # a score far out must not flatten all others
    edges = np.linspace(low, high if high > low else low + 1.0, 41)
    shown = np.clip(scores, edges[0], edges[-1])
    out, inside = shown[~included], shown[included]
    bins = [float(edge) for edge in edges]
    axes.hist(out, bins, color=_OUT, alpha=0.75, label=f"not in the data ({len(out)})")
    axes.hist(inside, bins, histtype="step", color=_IN, linewidth=1.8, hatch="///", label=f"in the data ({len(inside)})")
    axes.set_xlabel("score of a canary patient: log likelihood ratio (nats)", color=_MUTED)
    axes.set_ylabel("canaries", color=_MUTED)
    axes.legend(frameon=False, loc="upper left", fontsize=9)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.2)
    axes.set_title(f"{report.bound.right} of {report.bound.guesses} guesses right", loc="left", fontsize=10, color=_INK)
    _plain(axes)


def _scale(axes: Axes, report: AuditReport) -> None:
    """Epsilon upwards: the claim, the lower bound, and the most that so many canaries can show."""
    bound, claim, most = report.bound.epsilon, report.subject.epsilon, report.ceiling
    axes.bar([-0.38], [bound], width=0.4, color=_OUT)
    top = 1.2 * max(bound, claim, most)
    # Labels of lines that are close go to opposite sides of them.
    for value, other, text, colour, dashes in (
        (claim, most, f"claim {claim:.3g}", _CLAIM, (0, ())),
        (most, claim, f"most that {report.bound.canaries:,}\ncanaries can show {most:.2f}", _MUTED, (0, (4, 3))),
    ):
        axes.axhline(value, color=colour, linewidth=1.5, linestyle=dashes)
        side = "bottom" if value > other else "top"
        axes.annotate(
            text, (0.6, value), (0, 3 if side == "bottom" else -3), textcoords="offset points",
            ha="right", va=side, color=colour, fontsize=9,
        )  # fmt: skip
    axes.annotate(f"{bound:.2f}", (-0.38, bound), (0, 2), textcoords="offset points", ha="center", weight="bold")
    axes.set(xlim=(-0.62, 0.62), ylim=(0, top), xticks=[])
    axes.set_title("epsilon: lower bound at 95%", loc="left", fontsize=10, color=_INK)
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=_MUTED, labelsize=9)
