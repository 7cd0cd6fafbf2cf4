"""Whether the model works as well for every group of patients: the `fairness` part of the report.

Compared are the hospitals with each other, the values of each attribute, and the groups of each intersection; class by class,
in AUROC, in sensitivity (equal opportunity) and false positive rate at every operating point, in calibration slope, and in
observed over expected cases. Three rows are not tests of their own but follow from others:

- equalised odds: the larger of the two gaps, sensitivity and false positive rate (Hardt, Price & Srebro 2016);
- underdiagnosis: the rate at which ill patients are told that nothing is found (Seyyed-Kalantari et al., Nature Medicine
  2021;27:2176-2182). For a disease that is 1 - sensitivity, so its gap is that of sensitivity; for a class that stands for
  healthy patients it is that class's false positive rate;
- observed over expected: the plan has no margin for it, so it has no verdict.

Pure: the same counts give the same JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from evaluation.audit import fairness_points as points
from evaluation.audit.fairness_chance import holm, null_gap
from evaluation.audit.fairness_points import Family, Point
from evaluation.audit.fairness_rows import Margin, Row, compared, judged, overall
from evaluation.audit.figures import GroupFigures
from evaluation.audit.layout import AuditLayout
from evaluation.heterogeneity import spread

HEALTHY = ("healthy", "no finding", "no findings", "normal")  # names of classes that stand for patients without a finding


def fairness_entry(
    layout: AuditLayout, class_names: Sequence[str], figures: Sequence[Sequence[GroupFigures]]
) -> dict[str, Any]:
    """The report's `fairness`. `figures` (classes, groups): each class's in the order of the layout's groups."""
    rows = fairness_rows(layout, class_names, figures)
    return {
        "verdict": overall([row.verdict for row in rows if row.verdict is not None]),
        "n_tested": sum(row.p is not None for row in rows),
        "tests": [row.to_json() for row in rows],
    }


def fairness_rows(
    layout: AuditLayout, class_names: Sequence[str], figures: Sequence[Sequence[GroupFigures]]
) -> tuple[Row, ...]:
    """Every comparison with its verdict. Holm's correction is over all of them together: classes, attributes, figures."""
    tested = [
        row
        for name, groups in zip(class_names, figures, strict=True)
        for attribute, family in _families(groups).items()
        for row in _tested(layout, name, attribute, family)
    ]
    with_p = [position for position, row in enumerate(tested) if row.p is not None]
    adjusted = dict(zip(with_p, holm([tested[position].p or 0.0 for position in with_p]), strict=True))
    rows = [judged(row, adjusted.get(position)) for position, row in enumerate(tested)]
    return tuple(one for row in rows for one in (row, *_following(row, rows)))


def _families(groups: Sequence[GroupFigures]) -> dict[str, list[GroupFigures]]:
    """Groups by attribute; everyone is compared with no one."""
    families: dict[str, list[GroupFigures]] = {}
    for one in groups:
        if one.group.attribute != "all":
            families.setdefault(one.group.attribute, []).append(one)
    return families


def _tested(layout: AuditLayout, name: str, attribute: str, groups: Sequence[GroupFigures]) -> list[Row]:
    margins = layout.audit.margins
    auroc = compared(name, attribute, "auroc", None, points.family(groups, points.auroc), Margin(largest=margins.auroc_gap))
    rows = [_with_spread(auroc, groups) if attribute == "site" else auroc]
    for position, threshold in enumerate(layout.audit.operating_points):
        for figure, measure in (
            ("sensitivity", points.sensitivity(position)),
            ("false_positive_rate", points.false_positive_rate(position)),
        ):
            family = points.family(groups, measure)
            rows.append(compared(name, attribute, figure, threshold, family, Margin(largest=margins.rate_gap)))
    within = Margin(within=(margins.slope_low, margins.slope_high))
    rows.append(compared(name, attribute, "calibration_slope", None, points.family(groups, points.slope), within))
    ratios = points.family(groups, points.observed_expected)
    return [*rows, compared(name, attribute, "observed_expected", None, ratios, Margin())]


def _with_spread(row: Row, groups: Sequence[GroupFigures]) -> Row:
    """Between hospitals also the random-effects spread of their AUROCs."""
    found = spread([one.auroc for one in groups if one.shown and one.auroc is not None])
    if found is None:
        return row
    return replace(row, more={"tau_logit_auroc": found.tau, "cochran_q": found.q, "q_p_value": found.p_value})


def _following(row: Row, rows: Sequence[Row]) -> list[Row]:
    """What follows from this row: placed after the false positive rate, with which its operating point is complete."""
    if row.figure != "false_positive_rate":
        return []
    key = (row.class_name, row.attribute, row.threshold, "sensitivity")
    sensitivity = next(one for one in rows if (one.class_name, one.attribute, one.threshold, one.figure) == key)
    return [_equalised_odds(sensitivity, row), _underdiagnosis(sensitivity, row)]


def _equalised_odds(sensitivity: Row, false_positive: Row) -> Row:
    """The larger gap. Its p is that of the two together: Holm's smaller one, which is already adjusted for both."""
    both = (sensitivity, false_positive)
    left_out = {**false_positive.family.left_out, **sensitivity.family.left_out}
    names = {one.name for one in sensitivity.family.points} & {one.name for one in false_positive.family.points}
    family = Family(tuple(one for one in sensitivity.family.points if one.name in names), left_out=left_out)
    row = Row(
        sensitivity.class_name,
        sensitivity.attribute,
        "equalised_odds",
        sensitivity.threshold,
        family,
        sensitivity.margin,
        verdict=overall([one.verdict for one in both if one.verdict is not None]),
        same_as="sensitivity, false_positive_rate",
    )
    if sensitivity.gap is None or false_positive.gap is None:
        return row
    first, second = sensitivity.gap, false_positive.gap
    larger, found = (sensitivity, first) if first.value >= second.value else (false_positive, second)
    adjusted = [one.p_holm for one in both if one.p_holm is not None]
    return replace(
        row,
        gap=replace(found, lo=max(first.lo, second.lo), hi=max(first.hi, second.hi)),
        null_gap=null_gap(*([point.error for point in one.family.points] for one in both)),
        p_holm=min(adjusted, default=None),
        worst=larger.worst,
    )


def _underdiagnosis(sensitivity: Row, false_positive: Row) -> Row:
    """The same gap seen from the other side; as 1 - sensitivity, lowest and highest change places."""
    if sensitivity.class_name.lower() in HEALTHY:
        return replace(false_positive, figure="underdiagnosis", p=None, same_as="false_positive_rate")
    found, worst = sensitivity.gap, sensitivity.worst
    return replace(
        sensitivity,
        figure="underdiagnosis",
        p=None,
        same_as="sensitivity",
        gap=found and replace(found, lowest=found.highest, highest=found.lowest),
        worst=worst and _missed(worst),
    )


def _missed(point: Point) -> Point:
    def limits(z: float) -> tuple[float, float]:
        lo, hi = point.limits(z)
        return 1.0 - hi, 1.0 - lo

    return Point(point.name, 1.0 - point.value, limits)
