"""One test of the audit: what was expected, what was measured, and what to look at if the two do not agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

ALPHA = 1e-5
"""Chance of each statistical test to flag a correct engine. About ten of them and the canaries (three runs in a row that each
err once in twenty) stay below 1e-3 together, also where a tail is only known approximately."""


@dataclass(frozen=True)
class Finding:
    """The outcome of one test. `alpha` is its chance of a false alarm; None where nothing is left to chance."""

    name: str
    expected: str
    measured: str
    ok: bool
    suggests: str
    """What a violation points to."""
    p_value: float | None = None
    alpha: float | None = None

    def as_json(self) -> dict[str, Any]:
        """The same as JSON types; `suggests` only where something was found."""
        return {
            "name": self.name,
            "expected": self.expected,
            "measured": self.measured,
            "verdict": "nothing found" if self.ok else "violation",
            "suggests": None if self.ok else self.suggests,
            "p_value": self.p_value,
            "alpha": self.alpha,
        }


def statistical(name: str, expected: str, measured: str, p_value: float, suggests: str) -> Finding:
    """A finding that is a violation if its two-sided `p_value` is below ALPHA (or not a number)."""
    return Finding(name, expected, measured, p_value >= ALPHA, suggests, p_value, ALPHA)


def two_sided(lower: float, upper: float) -> float:
    """The two-sided p-value from the two tails."""
    return min(1.0, 2.0 * min(lower, upper))
