"""Write report.json, report.html and report.pdf: each appears whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from evaluation.report.render import render_html
from protocol.errors import EvaluationError


def write_report(report: dict[str, Any], out: Path) -> tuple[Path, Path]:
    """Write `out`/report.json and `out`/report.html and return their paths; `out` is made if it is not there.

    The HTML is made from `report` alone: writing what report.json holds gives the same bytes again. Raises EvaluationError
    if `report` holds NaN or is not a whole report; then nothing is written.
    """
    try:
        content = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise EvaluationError(f"the report cannot be written as JSON: {error}.") from error
    page = render_html(json.loads(content))
    out.mkdir(parents=True, exist_ok=True)
    return _replace(out / "report.json", content), _replace(out / "report.html", page)


def write_page(report: dict[str, Any], out: Path) -> Path:
    """Write `out`/report.html alone, of a report.json that stays as it is. Raises EvaluationError."""
    page = render_html(report)
    out.mkdir(parents=True, exist_ok=True)
    return _replace(out / "report.html", page)


def write_pdf(report: dict[str, Any], content: bytes, out: Path) -> Path:
    """Write `out`/report.pdf, with `content`, the bytes of report.json, inside. Raises InputError if WeasyPrint is missing."""
    from evaluation.report.pdf import render_pdf

    return _replace(out / "report.pdf", render_pdf(report, content))


def _replace(path: Path, content: str | bytes) -> Path:
    data = content.encode() if isinstance(content, str) else content
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).chmod(0o644)
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    return path
