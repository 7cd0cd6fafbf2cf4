"""report.json's `audit.versus_baseline`: what the final model gains over the one that the plan compares with, group by group.

Both were scored on the same images, so differences are paired. A group is shown here where its figures are; the table of both
scores is not, nor can it be told from the two numbers that a difference is given with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.audit import estimates, ranking
from evaluation.audit.figures import GroupFigures
from evaluation.audit.layout import AuditLayout, Counts
from evaluation.audit.measuring import Tallies, measured_auroc
from evaluation.audit.paired import auroc_variance, precision_variance
from evaluation.audit.rates import wilson
from evaluation.comparison import NOT_ESTIMABLE, PAIRED, UNPAIRED, Comparison, compare
from evaluation.intervals import difference_interval, paired_interval
from evaluation.measured import Measured
from evaluation.metrics import SHOWN_FROM

_MOST_TIED = 0.02
"""Half the share of pairs whose order the fixed bins may hide: scores of ordinary spread have 0.003 to 0.006. Beyond it a model
would seem worse than it is because its scores lie in few bins."""
_ROUNDING = 1e-12  # a variance below this is 0 but for float64
Figures = Sequence[Sequence[GroupFigures]]


def versus_baseline(
    layout: AuditLayout,
    class_names: Sequence[str],
    summed: NDArray[np.signedinteger],
    found: Figures,
    counted: Sequence[Sequence[Tallies]],
    absent: set[str],
) -> dict[str, Any] | None:
    """None where the plan compares with no other model. `found` and `counted` are the final model's, of `summed` (size,)."""
    pairs = layout.split_pairs(summed)
    if pairs is None:
        return None
    scores, joint = pairs
    classes = [
        {
            "name": name,
            "groups": [
                _group(one, own, scores[index, place], joint[index, place], one.group.site in absent)
                for place, (one, own) in enumerate(zip(found[index], counted[index], strict=True))
            ],
        }
        for index, name in enumerate(class_names)
    ]
    return {"weights": layout.audit.compare_with, "classes": classes}


def _group(one: GroupFigures, own: Tallies, scores: Counts, joint: Counts, absent: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"attribute": one.group.attribute, "value": one.group.value}
    if absent or not one.shown:
        return entry | _nothing(estimates.lacking("took_no_part", 0) if absent else estimates.suppressed(str(one.why)))
    positive, negative = scores.astype(np.float64)
    theirs = replace(own, positive=positive, negative=negative)
    other = measured_auroc(theirs)
    if own.cases < SHOWN_FROM or one.auroc is None or not other.estimable:
        return entry | _nothing(estimates.lacking("too_few_images", own.cases))
    if (other.binning_bound or 0.0) > _MOST_TIED:
        return entry | _nothing(estimates.lacking("tied_in_bins", own.cases))
    gained = compare(_effective(one.auroc, own), _effective(other, own), auroc_variance(own, theirs, joint))
    precision = _precision(own, one.average_precision), _precision(theirs, _ranked(theirs))
    return entry | {
        "baseline": {"auroc": estimates.auroc(other, one.design), "average_precision": precision[1]},
        "auroc": gained.to_json(),
        "average_precision": _gained_precision(*precision, precision_variance(own, theirs, joint)).to_json(),
    }


def _nothing(lacking: dict[str, Any]) -> dict[str, Any]:
    none = NOT_ESTIMABLE.to_json()
    return {"baseline": {"auroc": lacking, "average_precision": lacking}, "auroc": none, "average_precision": none}


def _effective(one: Measured, own: Tallies) -> Measured:
    """By the effective numbers of cases, which decide near 0 and 1, and where there are too few to compare."""
    n = [int(number / design) for number, design in zip((one.n_positive, one.n_negative), own.design, strict=True)]
    return replace(one, n_positive=n[0], n_negative=n[1])


def _ranked(one: Tallies) -> ranking.Ranked | None:
    """The average precision; empty bins, of which the fixed grid has many, add nothing to it but time."""
    used = one.positive + one.negative > 0.0
    return ranking.average_precision(one.positive[used], one.negative[used], one.design, 0.0)


def _precision(one: Tallies, ranked: ranking.Ranked | None) -> dict[str, Any]:
    return estimates.average_precision(ranked, one.cases, one.n[0] / one.design[0], wilson)


def _gained_precision(mine: dict[str, Any], other: dict[str, Any], variance: float) -> Comparison:
    """Paired, but for a value at 0 or 1 or a difference without any spread, whose interval would be too short."""
    if mine["value"] is None or other["value"] is None:
        return NOT_ESTIMABLE
    if variance < _ROUNDING or not all(0.0 < one["value"] < 1.0 for one in (mine, other)):
        (value, lo, hi), method = difference_interval(_triple(mine), _triple(other)), UNPAIRED
    else:
        (value, lo, hi), method = paired_interval(mine["value"], other["value"], variance), PAIRED
    return Comparison(value, lo, hi, "better" if lo > 0.0 else "worse" if hi < 0.0 else "no_clear_difference", method)


def _triple(one: dict[str, Any]) -> tuple[float, float, float]:
    return one["value"], one["lo"], one["hi"]
