"""What follows from a report and a check of its evidence, as an exit code: docs/report.md, fedward audit report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.report.audit_words import figure_name

PASS, FINDING, INSUFFICIENT, INTEGRITY = 0, 1, 2, 3
_GRAVEST = (INTEGRITY, FINDING, INSUFFICIENT, PASS)


@dataclass(frozen=True, slots=True)
class Reason:
    """One of the codes above, and why in a sentence; `measured` is false where the code is PASS since nothing was asked."""

    code: int
    text: str
    measured: bool = True


def conclude(report: dict[str, Any], broken: Sequence[str] | None, unchecked: str = "") -> tuple[Reason, ...]:
    """Everything that speaks for a code, the gravest first; never empty.

    `broken` are the failed checks of the evidence, None where it was not checked, for the reason `unchecked`.
    """
    found = [*_fairness(report), *_alone(report), *_checks(report), *_evidence(broken, unchecked)]
    return tuple(sorted(found, key=lambda reason: _GRAVEST.index(reason.code)))


def exit_code(reasons: Sequence[Reason]) -> int:
    """The gravest."""
    return reasons[0].code


def _fairness(report: dict[str, Any]) -> list[Reason]:
    audit = report.get("audit")
    if audit is None:
        return [Reason(INSUFFICIENT, "fairness: the plan asked for no audit (evaluation.audit)")]
    if not audit["fairness"]:
        return [Reason(INSUFFICIENT, f"fairness: nothing was measured, {audit['reason'] or 'no sum was opened'}")]
    verdict, tests = audit["fairness"]["verdict"], audit["fairness"]["tests"]
    if verdict == "pass":
        return [Reason(PASS, "fairness: every gap that was tested is within its margin")]
    if verdict == "insufficient":
        unclear = sum(test["verdict"] == "insufficient" for test in tests)
        return [Reason(INSUFFICIENT, f"fairness: of {len(tests)} gaps {unclear} cannot be told from their margins")]
    failed = [test for test in tests if test["verdict"] == "fail" and not test.get("same_as")]
    return [Reason(FINDING, _gap(test)) for test in failed] or [Reason(FINDING, "fairness: a gap is beyond its margin")]


def _gap(test: dict[str, Any]) -> str:
    gap, at = test["gap"], "" if test["threshold"] is None else f" from {test['threshold']:g}"
    return (
        f"fairness: {figure_name(test['figure'])}{at} of {test['class']} by {test['attribute']} differs by {gap['value']:.3f} "
        f"({gap['lo']:.3f} to {gap['hi']:.3f}), {test['lowest']} to {test['highest']}"
    )


def _alone(report: dict[str, Any]) -> list[Reason]:
    verdicts = report["outcome"]["versus_alone"]
    if worse := verdicts["worse"]:
        return [Reason(FINDING, f"worth it: at {', '.join(worse)} the federated model ranks worse than the hospital's own")]
    if compared := len(verdicts["better"]) + len(verdicts["no_clear_difference"]):
        return [Reason(PASS, f"worth it: at none of the {compared} hospitals compared worse than its own model")]
    return [Reason(PASS, "worth it: not compared with own models", measured=False)]


def _checks(report: dict[str, Any]) -> list[Reason]:
    """What the coordinator's software itself found to be wrong."""
    failed = [one for one in report.get("checks") or () if one.get("status") == "failed"]
    return [Reason(INTEGRITY, f"recorded check: {one['name']} ({one.get('detail', 'failed')})") for one in failed]


def _evidence(broken: Sequence[str] | None, unchecked: str) -> list[Reason]:
    if broken is None:
        return [Reason(INSUFFICIENT, f"evidence: not checked, {unchecked}")]
    return [Reason(INTEGRITY, f"evidence: {one}") for one in broken] or [Reason(PASS, "evidence: every check holds")]
