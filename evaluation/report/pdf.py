"""report.pdf: the page on paper as PDF/A-3, with report.json inside. Needs the optional extra fedward[pdf].

Figures become images whose text for those who cannot see them is the figure's own label; their colours are those of paper, as
WeasyPrint knows no variables inside a picture. The same report gives the same bytes, if WeasyPrint and fonts are the same.
"""

from __future__ import annotations

import base64
import html
import json
import logging
import re
from datetime import datetime
from hashlib import sha256
from typing import Any

from evaluation.report.render import render_html, style_sheet
from protocol.errors import EvaluationError, InputError

VARIANT = "pdf/a-3u"
_SVG = re.compile(r"<svg\b.*?</svg>", re.DOTALL)
_LABEL = re.compile(r'aria-label="([^"]*)"')
_BOX = re.compile(r'viewBox="0 0 ([\d.]+) ([\d.]+)"')


def render_pdf(report: dict[str, Any], content: bytes) -> bytes:
    """The PDF of `report`; `content` are the bytes of its report.json, which are attached.

    Raises InputError if WeasyPrint or a library it needs is not there, EvaluationError if `report` is not a whole report.
    """
    page = _for_paper(render_html(report))
    weasyprint = _weasyprint()
    written = datetime.fromisoformat(report["generated_at"])
    attachment = weasyprint.Attachment(
        string=content,
        name="report.json",
        description="Every figure of this report",
        relationship="Source",
        created=written,
        modified=written,
    )
    try:
        pdf: bytes = weasyprint.HTML(string=page, url_fetcher=weasyprint.urls.URLFetcher(allowed_protocols={"data"})).write_pdf(
            pdf_variant=VARIANT, attachments=[attachment], pdf_identifier=sha256(content).digest()[:16], pdf_tags=True
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise EvaluationError(f"the PDF could not be made from this report: {type(error).__name__}: {error}.") from error
    return pdf


def read_report(pdf: bytes) -> bytes:
    """The bytes of the report.json attached to a PDF that `render_pdf` made. Raises EvaluationError if there is none."""
    import zlib

    for found in re.finditer(rb"/Type /EmbeddedFile.*?stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL):
        try:
            data = zlib.decompress(found[1])
        except zlib.error:
            data = found[1]
        try:
            json.loads(data)
        except ValueError:
            continue
        return data
    raise EvaluationError("this PDF holds no report.json.")


def _weasyprint() -> Any:
    try:
        import weasyprint
    except ImportError as error:
        raise InputError("report.pdf needs WeasyPrint: pip install 'fedward[pdf]'.") from error
    except OSError as error:  # a system library is missing; it names the library
        raise InputError(
            f"report.pdf needs the system's pango ({error}): on Debian or Ubuntu apt-get install libpango-1.0-0 "
            "libpangoft2-1.0-0 libharfbuzz-subset0."
        ) from error
    for name in ("weasyprint", "fontTools"):  # it tells of every style that paper does not know
        logging.getLogger(name).setLevel(logging.ERROR)
    return weasyprint


def _for_paper(page: str) -> str:
    """The page without its telephone cuts and with its figures as pictures."""
    colours = _colours()
    page = re.sub(r'<div class="narrow">.*?</svg></div>', "", page, flags=re.DOTALL)
    return _SVG.sub(lambda found: _picture(found[0], colours), page)


def _picture(svg: str, colours: dict[str, str]) -> str:
    label = _LABEL.search(svg)
    box = _BOX.search(svg)
    if label is None or box is None:
        raise EvaluationError("a figure has no label or no size.")
    svg = re.sub(r"var\((--[a-z]+)\)", lambda found: colours[found[1]], svg)
    svg = svg.replace("<svg ", f'<svg xmlns="http://www.w3.org/2000/svg" width="{box[1]}" height="{box[2]}" ', 1)
    svg = svg.replace("inherit", "DejaVu Sans, sans-serif")
    data = base64.b64encode(svg.encode()).decode()
    return f'<img alt="{html.escape(html.unescape(label[1]))}" src="data:image/svg+xml;base64,{data}">'


def _colours() -> dict[str, str]:
    """Those of the style sheet's part for paper."""
    paper = style_sheet().split("@media print", 1)[1]
    return dict(re.findall(r"(--[a-z]+): (#[0-9a-f]{3,6})", paper))
