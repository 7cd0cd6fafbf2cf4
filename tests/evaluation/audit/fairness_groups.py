"""Made-up test patients with scores, and the figures of their groups straight from the rows."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from evaluation.audit.figures import Calibration, Cells, GroupFigures
from evaluation.audit.layout import AuditLayout, Group
from evaluation.delong import delong
from evaluation.measured import Measured
from protocol.plan.audit import Audit


@dataclass(frozen=True)
class Rows:
    """One class against the rest; one image a patient. Arrays are (n,)."""

    labels: NDArray[np.int64]
    log_odds: NDArray[np.float64]
    site: NDArray[np.str_]
    sex: NDArray[np.str_]
    age: NDArray[np.str_]

    @property
    def calls(self) -> NDArray[np.int64]:
        return (self.log_odds >= 0.0).astype(np.int64)


def layout(sites: Sequence[str] = ("a", "b", "c", "d"), **settings: object) -> AuditLayout:
    return AuditLayout(Audit.model_validate_json(json.dumps(settings)), 1, False, tuple(sites))


def draw(
    rng: np.random.Generator,
    sites: Sequence[str],
    positives: int,
    negatives: int,
    *,
    auroc: float = 0.85,
    lower: dict[str, float] | None = None,
    sexes: Sequence[str] = ("F", "M"),
    ages: Sequence[str] = ("0-39", "40-59", "60-79", "80+"),
) -> Rows:
    """As many of each class at every hospital; sex and age by lot. `lower`: what a hospital's or a sex's AUROC is less."""
    lower = lower or {}
    n = positives + negatives
    site = np.repeat(np.array(sites), n)
    labels = np.tile(np.repeat([1, 0], [positives, negatives]), len(sites))
    sex, age = rng.choice(np.array(sexes), len(site)), rng.choice(np.array(ages), len(site))
    true = auroc - np.array([lower.get(one, 0.0) + lower.get(two, 0.0) for one, two in zip(site, sex, strict=True)])
    apart = math.sqrt(2.0) * norm.ppf(true)
    # Both classes move by half, so that 0 stays the middle; a deviation of 1 and this distance make log-odds of it.
    log_odds = apart * (apart * (labels - 0.5) + rng.standard_normal(len(labels)))
    return Rows(labels, log_odds, site, sex, age)


def figures(made: AuditLayout, rows: Rows) -> list[GroupFigures]:
    """Every group of the layout, from its rows."""
    return [one_group(group, rows, made.audit.operating_points) for group in made.groups]


def one_group(group: Group, rows: Rows, thresholds: Sequence[float] = (0.5,)) -> GroupFigures:
    inside = np.ones(len(rows.labels), bool) if group.site is None else rows.site == group.site
    for attribute, value in group.pairs:
        inside &= {"sex": rows.sex, "age": rows.age}[attribute] == value
    labels, log_odds = rows.labels[inside], rows.log_odds[inside]
    ranked = delong(labels, log_odds)
    value, variance = ranked if ranked is not None else (None, None)
    n_positive, n_negative = int(labels.sum()), int((1 - labels).sum())
    cells = []
    for threshold in thresholds:
        called = log_odds >= math.log(threshold / (1.0 - threshold))
        tp, fp = int((called & (labels == 1)).sum()), int((called & (labels == 0)).sum())
        cells.append(Cells(threshold, tp, n_positive - tp, fp, n_negative - fp))
    return GroupFigures(
        group,
        len(labels),
        n_positive,
        auroc=Measured(value, variance, n_positive, n_negative),
        rates=tuple(cells),
        calibration=calibration(labels, log_odds),
    )


def calibration(labels: NDArray[np.int64], log_odds: NDArray[np.float64]) -> Calibration:
    """Slope by Newton's method; observed over expected."""
    if min(labels.sum(), (1 - labels).sum()) < 2:
        return Calibration()
    beta, x = np.zeros(2), np.column_stack([np.ones_like(log_odds), log_odds])
    for _ in range(50):
        p = 1.0 / (1.0 + np.exp(-x @ beta))
        information = (x * (p * (1.0 - p))[:, None]).T @ x
        step = np.linalg.solve(information, x.T @ (labels - p))
        beta = beta + step
        if np.abs(step).max() < 1e-9:
            break
    variance = np.linalg.inv(information)
    expected = (1.0 / (1.0 + np.exp(-log_odds))).sum()
    ratio = float(labels.sum() / expected)
    return Calibration(
        slope=(float(beta[1]), float(variance[1, 1])),
        observed_expected=(ratio, ratio**2 * (1.0 - float(labels.mean())) / float(labels.sum())),
    )
