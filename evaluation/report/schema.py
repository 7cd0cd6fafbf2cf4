"""report.schema.json: the JSON Schema (2020-12) of report.json. Tests hold every report that is written to it."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any


def schema() -> dict[str, Any]:
    """The schema as a JSON object; any validator can use it, fedward itself needs none."""
    content: dict[str, Any] = json.loads((files("evaluation.report") / "report.schema.json").read_text(encoding="utf-8"))
    return content
