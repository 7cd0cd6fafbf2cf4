"""The cumulative epsilon of a cohort as a picture: one colour a study, the limit as a line."""

from __future__ import annotations

import io
import itertools

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from privacy.accounting import COARSE, FINE, worst_epsilon
from privacy.ledger import Ledger
from privacy.ledger.budget import by_job

INK, MUTED, LINE, PAPER, WARN = "#1b2530", "#55606e", "#d5dbe1", "#fffffe", "#b3261e"
_COLOURS = ("#0a5a83", "#c96a12", "#3f7f5f", "#8a4f9e", "#a8843a", "#5d6f7e")
_POINTS = 32  # at most about so many states of the ledger are accounted for; each takes a tenth of a second
_MOST_NAMES = 6


def draw(ledger: Ledger, delta: float, limit: float | None, kind: str) -> bytes:
    """The picture as `kind` (svg or png). The same ledger gives the same bytes."""
    figure = Figure(figsize=(8.4, 4.0), facecolor=PAPER)
    axes = figure.add_axes((0.08, 0.14, 0.885, 0.63))
    curve = _curve(ledger, delta)
    _lines(axes, ledger, curve)
    top = max([value for _, value in curve] + ([limit] if limit else []))
    axes.set(xlim=(0, max(1, len(ledger.entries)) * 1.01), ylim=(0, top * 1.12 or 1.0))
    if limit:
        axes.axhline(limit, color=WARN, linewidth=1.3, linestyle=(0, (5, 3)))
        axes.annotate(
            f"limit {limit:g}", (0.005, limit), xycoords=("axes fraction", "data"), xytext=(0, 4), textcoords="offset points",
            color=WARN, fontsize=10,
        )  # fmt: skip
    _style(figure, axes, ledger.cohort, delta)
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "budget", "svg.fonttype": "none"}):
        if kind == "svg":
            FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})  # type: ignore[no-untyped-call]
        else:
            figure.set_dpi(160)
            FigureCanvasAgg(figure).print_png(buffer)  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def _curve(ledger: Ledger, delta: float) -> list[tuple[int, float]]:
    """(charges, epsilon after them), at most about _POINTS of them, with every change of study among them."""
    entries = ledger.entries
    stride = -(-len(entries) // _POINTS) or 1
    wanted = {0, len(entries), *range(0, len(entries), stride)}
    wanted |= {n for n in range(1, len(entries)) if entries[n].job != entries[n - 1].job}
    if len(wanted) > 2 * _POINTS:  # jobs that charge in turns
        wanted = {0, len(entries), *range(0, len(entries), stride)}
    last = len(entries)  # the figure that people read is told with the fine grid, like everywhere else
    return [
        (n, worst_epsilon(list(by_job(entries[:n]).values()), delta, FINE if n == last else COARSE)) for n in sorted(wanted)
    ]


def _lines(axes: Axes, ledger: Ledger, curve: list[tuple[int, float]]) -> None:
    jobs = list(dict.fromkeys(entry.job for entry in ledger.entries))
    named = {entry.job: f"{jobs.index(entry.job) + 1}  {_short(entry.study, 22)}" for entry in ledger.entries}
    names = {job: named[job] for job in jobs[-_MOST_NAMES:]}  # of more studies the newest are named; the table names all
    for before, after in itertools.pairwise(curve):
        job = ledger.entries[after[0] - 1].job
        colour = _COLOURS[jobs.index(job) % len(_COLOURS)]
        xs, ys = zip(before, after, strict=True)
        axes.plot(xs, ys, color=colour, linewidth=2.2, solid_capstyle="round", label=names.pop(job, None))
        axes.fill_between(xs, ys, color=colour, alpha=0.13, linewidth=0)
    if jobs:
        last, value = curve[-1]
        axes.annotate(
            f"{value:.2f}", (last, value), xytext=(-4, 7), textcoords="offset points", ha="right", color=INK, fontsize=11,
            fontweight="bold",
        )  # fmt: skip
        axes.legend(
            loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=min(3, len(jobs)), frameon=False, fontsize=10, labelcolor=INK,
            handlelength=1.4, columnspacing=1.6, borderaxespad=0.2,
        )  # fmt: skip
    else:
        axes.text(0.5, 0.5, "nothing has been charged", transform=axes.transAxes, ha="center", color=MUTED, fontsize=11)


def _style(figure: Figure, axes: Axes, cohort: str, delta: float) -> None:
    title = f"What a patient of {_short(cohort, 28)} has paid: epsilon at delta {delta:g}"
    figure.text(0.02, 0.94, title, color=INK, fontsize=13, fontweight="bold")
    axes.set_xlabel("releases charged", color=MUTED, fontsize=11)
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.patch.set_alpha(0.0)
    axes.tick_params(colors=MUTED, labelsize=10.5, length=3, width=0.8, color=LINE)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color=LINE, linewidth=0.7)
    axes.set_axisbelow(True)
    for text in figure.findobj(mpl.text.Text):
        text.set_parse_math(False)  # a study may be called $x$


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
