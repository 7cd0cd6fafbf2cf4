"""By which formulas a report's figures were made, as one number that stands in report.json.

Whoever verifies evidence makes every figure again with the formulas of their own release. A release that changes one of them,
so that the same releases of the hospitals give other figures, counts ARITHMETIC up: then an older report is refused by name,
and not called false. A field that is only added, or words that change, need no new number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ARITHMETIC = 1


def other_arithmetic(report: Mapping[str, Any]) -> str:
    """Why this release cannot make the report's figures again; empty if it can."""
    told = report.get("arithmetic")
    if told == ARITHMETIC and type(told) is int:
        return ""
    made = "before arithmetic was numbered" if told is None else f"with arithmetic {told!r}"[:80]
    return f"report.json was made {made}; this release checks {ARITHMETIC}. Check it with the release of fedward that made it"
