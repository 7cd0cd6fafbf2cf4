"""Method notes and limits of a run with an audit, and what then remains unevaluated; they travel in report.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evaluation.report.texts import NOT_EVALUATED

_COUNTS = {
    "name": "Figures by group",
    "text": "Each hospital counts its test cases by group, outcome and bin of the score; all figures by group follow from "
    "the added counts. The bins hold equal shares of the scores of all hospitals (under differential privacy they are fixed), "
    "and every threshold of the plan is an edge, so that sensitivity, specificity and net benefit lose nothing to bins.",
    "source": "fedward, docs/report.md, The audit",
}
_RATES = {
    "name": "Rates and curves",
    "text": "Intervals of sensitivity, specificity and predictive values are Wilson's; several images of one patient widen "
    "them by Kish's design effect. Intercept, slope and observed over expected describe calibration; net benefit weighs false "
    "alarms by the odds of the threshold.",
    "source": "Wilson, JASA 1927;22:209-212; Kish, Survey Sampling, 1965; Van Calster et al., BMC Medicine 2019;17:230; "
    "Vickers & Elkin, Medical Decision Making 2006;26:565-574",
}
_FAIR = {
    "name": "Gaps between groups",
    "text": "The largest figure of a group less the smallest. Chance alone makes gaps, so the mean gap of groups that are "
    "truly alike stands beside it. A gap is beyond the margin if its whole interval is and Holm's p is at most 0.05; within it "
    "if its whole interval is; otherwise it cannot be told. The margins were in the plan before any score existed.",
    "source": "Holm, Scandinavian Journal of Statistics 1979;6:65-70; Hardt et al., NeurIPS 2016; Seyyed-Kalantari et al., "
    "Nature Medicine 2021;27:2176-2182",
}
_SMALL = {
    "name": "Small groups",
    "text": "A group of which a cell holds 1 to {most} cases is not shown; nor is another from which, together with the sums, "
    "it could be worked out.",
    "source": "fedward, docs/report.md, The audit",
}
_LIMITS = (
    "Groups are as the hospitals recorded them; a value that is wrong counts as it stands.",
    "That a difference cannot be told does not mean that there is none: small groups show only large differences.",
    "Predictive values, average precision and net benefit hold for this mix of patients.",
)
_MEASURED = ("calibration", "subgroups and fairness", "operating point", "missing data")  # how entries of NOT_EVALUATED begin
_LEFT = ("clinical benefit for patients", "images that were never entered, and label quality")


def audit_methods(audit: Mapping[str, Any]) -> tuple[Mapping[str, str], ...]:
    """The notes that an audit adds."""
    small = _SMALL | {"text": _SMALL["text"].format(most=audit["smallest_cell"] - 1)}
    return (_COUNTS, _RATES, _FAIR, small) if audit["epsilon"] is None else (_COUNTS, _RATES, _FAIR)


def audit_limitations() -> tuple[str, ...]:
    """The limits that an audit adds."""
    return _LIMITS


def not_evaluated(audit: Mapping[str, Any] | None) -> tuple[str, ...]:
    """What the report does not say; an audit without classes measured nothing."""
    if audit is None or not audit["classes"]:
        return NOT_EVALUATED
    return _LEFT + tuple(one for one in NOT_EVALUATED if not one.startswith(_MEASURED))
