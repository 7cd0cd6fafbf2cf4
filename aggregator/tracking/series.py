"""How hospitals differ, and what privacy has cost, round by round; and where a curve has no point, a tag that says why.

A hospital counts only with a figure that can be told: under noise one that stands out of it, beside an audit none that rests on
fewer images than may be shown.
"""

from __future__ import annotations

from collections.abc import Mapping

from aggregator.records import ScoresRecord
from evaluation.federated import site_auroc
from evaluation.heterogeneity import spread
from evaluation.metrics import Estimate
from evaluation.report.small_cells import rests_on_few
from protocol.plan import Plan

Metrics = dict[str, float]
FAIRNESS, PRIVACY = "fl.fairness_series", "fl.privacy_series"  # tags of the parent run
_WORST, _COST = "fairness/site/worst_auroc", "privacy/epsilon"


def at_start(plan: Plan) -> dict[str, str]:
    """The tags of a job that has not validated yet."""
    if plan.evaluation.scores == "summed":
        fairness = f"no {_WORST}: the plan lets only sums of scores leave (evaluation.scores: summed)"
    else:
        fairness = f"no {_WORST} yet: no validation so far"
    infinite = plan.privacy.mechanism == "none"
    cost = f"no {_COST}: without differential privacy it is infinite in every round" if infinite else f"{_COST}, by round"
    return {FAIRNESS: fairness, PRIVACY: cost}


def of_sites(record: ScoresRecord, smallest: int = 0) -> Metrics:
    """How the hospitals differ in one validation of the common model; `smallest` is an audit's smallest cell.

    `measured`: hospitals with a figure. Of one or more: `worst_auroc_at_most`, the lowest upper end of their 95% intervals,
    above which the worst of all hospitals cannot lie. Of two or more: the lowest, best less lowest, spread beyond chance.
    """
    if not _validates(record):
        return {}
    shown = _shown(record, smallest)
    found: Metrics = {"fairness/site/measured": float(len(shown))}
    if shown:
        found[f"{_WORST}_at_most"] = min(one.hi for one in shown.values() if one.hi is not None)
    if len(shown) < 2:
        return found
    values = [one.value for one in shown.values() if one.value is not None]
    found |= {_WORST: min(values), "fairness/site/gap_auroc": max(values) - min(values)}
    between = spread([site_auroc(record.scores[silo]) for silo in shown])
    return found | ({} if between is None else {"fairness/site/tau_auroc": between.tau})


def why_no_worst(record: ScoresRecord, smallest: int = 0) -> str | None:
    """Why one validation gives the worst hospital no point; None if it does, "" if it is of no interest here."""
    if not _validates(record):
        return ""
    shown = len(_shown(record, smallest))
    if shown >= 2:
        return None
    few = "noise" if any(site_auroc(one).noise is not None for one in record.scores.values()) else "too few images"
    return f"{few} left {shown} of {len(record.scores)} hospitals a figure"


def said(gaps: Mapping[int, str | None]) -> str:
    """The tag for all validations so far; `gaps` by round, in any order."""
    reasons: dict[str, list[str]] = {}
    for number, why in sorted(gaps.items()):
        if why is not None:
            reasons.setdefault(why, []).append(str(number))
    if not reasons:
        return f"{_WORST}, by round"
    told = "; ".join(f"after round {', '.join(numbers)}: {why}" for why, numbers in reasons.items())
    start = f"no {_WORST}" if all(gaps.values()) else f"{_WORST} lacks points"
    return f"{start} - {told}"


def _validates(record: ScoresRecord) -> bool:
    return record.kind == "federated" and record.split == "validation" and record.summed is None and record.unsummed is None


def _shown(record: ScoresRecord, smallest: int) -> dict[str, Estimate]:
    found: dict[str, Estimate] = {}
    for silo, scores in record.scores.items():
        measured = site_auroc(scores)
        if not measured.complete or (smallest and rests_on_few(scores, smallest)):
            continue
        if (one := measured.estimate()).value is not None:
            found[silo] = one
    return found
