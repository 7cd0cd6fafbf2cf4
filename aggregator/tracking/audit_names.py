"""Metric names of the audit: what can be shown, and nothing that is withheld.

`eval/subgroup/sex:F/auroc`, `fairness/sex/auroc_gap`; with more than two classes each class stands before the figure. MLflow
takes letters, digits, and `_-. :/` in a name, so `80+` is `80 and up`, `sex × age` is `sex x age`, and anything else is `_`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from aggregator.events import Audited
from evaluation.audit.content import audit_content
from evaluation.scoring import scored_classes

Metrics = dict[str, float]
_RATES = {"sensitivity": "tpr", "specificity": "tnr", "ppv": "ppv", "npv": "npv"}
_FIGURES = ("auroc", "average_precision")
_CALIBRATION = {
    "intercept": "calibration_intercept",
    "slope": "calibration_slope",
    "observed_expected": "observed_expected",
}
_OTHER = re.compile(r"[^\w.\- ]")


def of_audit(event: Audited) -> Metrics:
    """Every figure of the audit that the report shows too; nothing where there is no sum."""
    record, plan = event.record, event.plan
    if not record.counts:
        return {}
    names = plan.task.names
    scored = [names[index] for index in scored_classes(len(names))]
    edges, counts = [np.array(one) for one in record.edges], np.array(record.counts, dtype=np.int64)
    return of_content(audit_content(event.layout, scored, edges, counts, record.sites, None))


def of_content(content: Mapping[str, Any]) -> Metrics:
    """As `of_audit`, from report.json's `audit`."""
    several = len(content["classes"]) > 1
    found: Metrics = {}
    for one in content["classes"]:
        own = f"{_word(one['name'])}/" if several else ""
        for group in one["groups"]:
            prefix = f"eval/subgroup/{_word(group['attribute'])}:{_word(group['value'])}/{own}"
            found |= {f"{prefix}{name}": value for name, value in _figures(group).items()}
    for test in (content["fairness"] or {"tests": []})["tests"]:
        own = f"{_word(test['class'])}/" if several else ""
        name = f"fairness/{_word(test['attribute'])}/{own}{test['figure']}_gap{_at(test['threshold'])}"
        if test["gap"] is not None and test["gap"]["value"] is not None:
            found[name] = test["gap"]["value"]
    return found


def _figures(group: Mapping[str, Any]) -> Metrics:
    estimates = {name: group[name] for name in _FIGURES}
    estimates |= {name: group["calibration"][key] for key, name in _CALIBRATION.items()}
    for point in group["operating_points"]:
        estimates |= {f"{name}{_at(point['threshold'])}": point[key] for key, name in _RATES.items()}
    return {name: one["value"] for name, one in estimates.items() if one["value"] is not None}


def _at(threshold: float | None) -> str:
    """A rate at even odds has no number in its name."""
    return "" if threshold in (None, 0.5) else f"_at_{threshold:g}"


def _word(text: str) -> str:
    """A class, an attribute or a value as it may stand in a name."""
    return _OTHER.sub("_", text.replace(" × ", " x ").replace("+", " and up")).strip() or "_"
