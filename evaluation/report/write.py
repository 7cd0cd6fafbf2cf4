"""Write report.json and report.html: each appears whole or not at all."""

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


def _replace(path: Path, text: str) -> Path:
    with NamedTemporaryFile(
        "w", encoding="utf-8", newline="\n", dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as file:
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).chmod(0o644)
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    return path
