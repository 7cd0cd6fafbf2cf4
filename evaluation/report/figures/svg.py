"""A matplotlib figure as a piece of HTML: no scripts, no addresses, no fonts of its own, the same bytes every time.

Colours are written as CSS variables, so that the page's light and dark schemes colour the figure too. Only object-oriented
matplotlib is used: no pyplot, no global figure state.
"""

from __future__ import annotations

import html
import io
import re
import warnings

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from protocol.errors import EvaluationError

INK, MUTED, FAINT, LINE, ACCENT, PAPER = "#1b2530", "#55606e", "#9ba7b3", "#d5dbe1", "#0a5a83", "#fffffe"
_VARIABLES = {INK: "--ink", MUTED: "--muted", FAINT: "--faint", LINE: "--line", ACCENT: "--accent", PAPER: "--paper"}
_UNITS_PER_INCH = 72.0  # of matplotlib's SVG; one unit is shown as one CSS pixel
_LONGEST_LABEL = 24  # characters


def new_figure(width: float, height: float) -> Figure:
    """An empty transparent figure of `width` x `height` CSS pixels."""
    figure = Figure(figsize=(width / _UNITS_PER_INCH, height / _UNITS_PER_INCH))
    figure.patch.set_alpha(0.0)
    return figure


def add_axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place given in CSS pixels from the figure's top left corner; only the bottom line is drawn."""
    full_width, full_height = figure.get_size_inches() * _UNITS_PER_INCH
    box = (left / full_width, 1.0 - (top + height) / full_height, width / full_width, height / full_height)
    axes = figure.add_axes(box)
    axes.patch.set_alpha(0.0)
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.tick_params(colors=MUTED, labelsize=11, length=3, width=0.8, color=LINE)
    return axes


def short(text: str) -> str:
    """`text` on one line, cut to what fits beside a figure; the tables hold the whole."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_LABEL else line[: _LONGEST_LABEL - 1] + "…"


def to_svg(figure: Figure, name: str, label: str) -> str:
    """The figure as an <svg> element.

    `name` keeps its ids apart from those of other figures; `label` is read to those who cannot see it.
    """
    for text in figure.findobj(mpl.text.Text):
        text.set_parse_math(False)  # a site may be called $x$
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)  # the browser has it
        FigureCanvasSVG(figure).print_svg(buffer)  # type: ignore[no-untyped-call]
    return _inline(buffer.getvalue(), name, label)


def _inline(document: str, name: str, label: str) -> str:
    start = re.search(r'<svg\b[^>]*?viewBox="([^"]+)"[^>]*>', document)
    if start is None:
        raise EvaluationError("matplotlib wrote an SVG without a viewBox; this release knows matplotlib 3.10 and later.")
    body = re.sub(r"<(metadata|style)\b.*?</\1>", "", document[start.end() :], flags=re.DOTALL)
    body = re.sub(r"<[^>]*>", lambda tag: _adopt(tag[0], name), body)  # tags only: what people wrote stands between them
    body = re.sub(r">\s+<", "><", body).strip()
    return f'<svg viewBox="{start[1]}" role="img" aria-label="{html.escape(label)}">{body}'


def _adopt(tag: str, name: str) -> str:
    """One tag with its ids made unique to the figure, its colours turned into variables and its font left to the page."""
    tag = re.sub(r'\bid="', f'id="{name}-', tag)
    tag = re.sub(r'(?:xlink:)?href="#', f'href="#{name}-', tag)
    tag = tag.replace("url(#", f"url(#{name}-")
    tag = re.sub(r'(font-family: )[^;"]*', r"\1inherit", tag)
    tag = re.sub(r' transform="rotate\(-?0 [^)]*\)"', "", tag)
    for colour, variable in _VARIABLES.items():
        tag = tag.replace(colour, f"var({variable})")
    return " ".join(tag.split())
