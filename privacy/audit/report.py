"""What an audit found, in the words that an audit may use: it can show a violation, never that there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from privacy.audit.canaries import CanaryScores
from privacy.audit.finding import Finding
from privacy.audit.one_run import CONFIDENCE, LowerBound
from privacy.audit.subject import Subject


@dataclass(frozen=True)
class AuditReport:
    """The findings of one audit. `bound` is the smallest of the runs' lower bounds; there is one run unless that alarmed."""

    subject: Subject
    findings: tuple[Finding, ...]
    bound: LowerBound
    ceiling: float
    """The largest lower bound that so many canaries can give, every guess right."""
    runs: int
    scores: CanaryScores
    """Of the run that `bound` comes from."""

    @property
    def violations(self) -> tuple[Finding, ...]:
        """The tests that the mechanism failed."""
        return tuple(finding for finding in self.findings if not finding.ok)

    @property
    def conclusion(self) -> str:
        """One line."""
        if self.violations:
            seen = "; ".join(f"{one.name}: {one.measured}, expected {one.expected} - {one.suggests}" for one in self.violations)
            return f"VIOLATION: {seen}"
        adversary = self.subject.stream.adversary
        return f"no violation found; lower bound {self.bound.epsilon:.2f} at {CONFIDENCE:.0%} under {adversary}"

    @property
    def notes(self) -> tuple[str, ...]:
        """What the audit could not have seen."""
        if self.ceiling >= self.subject.epsilon:
            return ()
        return (
            f"{self.bound.canaries} canaries show at most epsilon {self.ceiling:.2f}, whatever the code does: against this "
            "claim only the other tests can fail. More --canaries or --repeat raise that figure as far as delta allows.",
        )

    def as_json(self) -> dict[str, Any]:
        """The same as JSON types, without the scores."""
        return {
            "claim": {"epsilon": self.subject.epsilon, "delta": self.subject.delta, "unit": "patient", "part": "train"},
            "mechanism": self.subject.stream.mechanism | {"steps": self.subject.steps},
            "adversary": self.subject.stream.adversary,
            "lower_bound": {
                "epsilon": self.bound.epsilon,
                "confidence": CONFIDENCE,
                "canaries": self.bound.canaries,
                "images_per_canary": self.subject.images,
                "guesses": self.bound.guesses,
                "right": self.bound.right,
                "largest_possible": self.ceiling,
                "runs": self.runs,
            },
            "tests": [finding.as_json() for finding in self.findings],
            "violation": bool(self.violations),
            "notes": list(self.notes),
            "conclusion": self.conclusion,
        }
