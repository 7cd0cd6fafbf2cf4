"""What a report says of itself once its figures are known: notes on the audit, what was not evaluated, the crosswalk."""

from __future__ import annotations

from typing import Any

from evaluation.report.arithmetic import ARITHMETIC
from evaluation.report.crosswalk import crosswalk
from evaluation.report.texts_audit import audit_limitations, audit_methods, not_evaluated


def finished(report: dict[str, Any]) -> dict[str, Any]:
    """`report` with these parts made anew from its other parts; doing it twice, or after adding evidence, is harmless."""
    audit = report.get("audit")
    methods, limits = list(report["methods"]), list(report["limitations"])
    if audit is not None:
        known = {method["name"] for method in methods}
        methods += [dict(method) for method in audit_methods(audit) if method["name"] not in known]
        limits += [limit for limit in audit_limitations() if limit not in limits]
    whole = report | {
        "methods": methods,
        "limitations": limits,
        "not_evaluated": list(not_evaluated(audit)),
        "arithmetic": ARITHMETIC,
    }
    return whole | {"crosswalk": crosswalk(whole)}
