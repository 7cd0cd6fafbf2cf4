"""The report of a run whose plan asks for an audit, with every state that a figure can be in: what the page is made for."""

from __future__ import annotations

from typing import Any

import numpy as np

from evaluation.report.build import build_report
from tests.evaluation.made_up_runs import make_private_summary, make_summary

MARGINS = {"auroc_gap": 0.05, "rate_gap": 0.1, "slope_low": 0.8, "slope_high": 1.25}
DECISION = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
GROUPS = (  # attribute, value, n, events, AUROC (None: not shown), why
    ("all", "all", 806, 324, 0.861, None),
    ("site", "charite", 420, 170, 0.871, None),
    ("site", "san-raffaele", 260, 104, 0.858, None),
    ("site", "uz-leuven", 110, 44, 0.842, None),
    ("site", "st-elsewhere", None, None, None, "took_no_part"),
    ("sex", "F", 371, 139, 0.812, None),
    ("sex", "M", 402, 172, 0.894, None),
    ("sex", "O", None, None, None, "small_cell"),
    ("sex", "unknown", None, None, None, "complement"),
    ("age", "0-39", 52, 14, 0.841, None),
    ("age", "40-59", 240, 88, 0.866, None),
    ("age", "60-79", 361, 151, 0.859, None),
    ("age", "80+", 138, 66, 0.847, None),
    ("age", "unknown", None, None, None, "too_few"),
    ("sex × age", "F × 60-79", 171, 66, 0.806, None),
    ("sex × age", "M × 60-79", 183, 81, 0.9, None),
)


def estimate(value: float | None, half: float, smaller: int, method: str = "Wilson", why: str | None = None) -> dict[str, Any]:
    """What evaluation.metrics.Estimate writes."""
    band = "1000+" if smaller >= 1000 else "100-999" if smaller >= 100 else "30-99" if smaller >= 30 else "10-29"
    if value is None:
        status = "suppressed" if why in ("small_cell", "complement") else "not_estimable"
        return {"value": None, "lo": None, "hi": None, "method": method, "n_band": "<10", "status": status, "why": why}
    return {
        "value": round(value, 6),
        "lo": round(value - half, 6),
        "hi": round(value + half, 6),
        "method": method,
        "n_band": band,
        "status": "ok" if smaller >= 100 else "wide",
    }


def audited_report(*, n_classes: int = 2, private: bool = False, verdict: str = "fail", n_rounds: int = 10) -> dict[str, Any]:
    """A report with the keys of an audit; the figures are made up, their shape is that of evaluation.audit.content."""
    if private:
        return build_report(make_private_summary(n_rounds=n_rounds, n_classes=n_classes)) | {
            "audit": audit(n_classes, epsilon=3.0, verdict=verdict)
        }
    return build_report(make_summary(n_rounds=n_rounds, n_classes=n_classes)) | {"audit": audit(n_classes, verdict=verdict)}


def audit(n_classes: int = 2, *, epsilon: float | None = None, verdict: str = "fail") -> dict[str, Any]:
    names = ["no finding", "pneumonia", "effusion", "nodule"][:n_classes]
    names = names[1:] if n_classes == 2 else names
    return {
        "model": "federated",
        "sites_in_sum": ["charite", "san-raffaele", "uz-leuven"],
        "reason": None,
        "thresholds": {"operating_points": [0.5, 0.7], "decision": list(DECISION)},
        "smallest_cell": 11,
        "bins": 17 if epsilon else 138,
        "epsilon": epsilon,
        "margins": dict(MARGINS),
        "classes": [_class(name, 0.004 * index, private=epsilon is not None) for index, name in enumerate(names)],
        "fairness": _fairness(names, verdict),
        "missingness": [
            {"attribute": "sex", "unknown": estimate(None, 0.0, 0, "share of images", "complement")},
            {"attribute": "age", "unknown": estimate(0.0186, 0.009, 806, "share of images, Wilson")},
        ],
    }


def _class(name: str, shift: float, *, private: bool) -> dict[str, Any]:
    points = np.linspace(0.06, 0.94, 10)
    centres = np.linspace(-5.0, 5.0, 24)
    high, low = (np.exp(-0.5 * ((centres - mean) / 1.6) ** 2) for mean in (1.3, -1.4))
    return {
        "name": name,
        "groups": [_group(*group, shift=shift, private=private) for group in GROUPS],
        "calibration_curve": [
            {"predicted": round(float(p), 6), "observed": estimate(float(p) ** 1.15, 0.03 + 0.05 * p * (1 - p) * 4, 80)}
            for p in points
        ],
        "decision_curve": [
            {
                "threshold": t,
                "model": estimate(max(0.402 - 0.34 * t**0.8, 0.004), 0.02, 324, "bootstrap"),
                "treat_all": round(0.402 - 0.598 * t / (1 - t), 6),
                "treat_none": 0.0,
            }
            for t in DECISION
        ],
        "score_distribution": {
            "edges": [round(float(1 / (1 + np.exp(-x))), 6) for x in (centres[1:] + centres[:-1]) / 2],
            "positive": [int(x) for x in 11 + 60 * high],
            "negative": [int(x) for x in 11 + 90 * low],
        },
    }


def _group(
    attribute: str,
    value: str,
    n: int | None,
    events: int | None,
    auroc: float | None,
    why: str | None,
    *,
    shift: float,
    private: bool,
) -> dict[str, Any]:
    smaller = 0 if n is None or events is None else min(events, n - events)
    half = 0.0 if not smaller else 0.9 / smaller**0.5 / 2

    def one(figure: float, scale: float = 1.0, method: str = "Wilson") -> dict[str, Any]:
        return estimate(None if auroc is None else figure, half * scale, smaller, method, why)

    shown = auroc is not None
    return {
        "attribute": attribute,
        "value": value,
        "n": None if private else n,
        "events": None if private else events,
        "n_band": one(0.5)["n_band"],
        "status": one(0.5)["status"],
        "why": why,
        "auroc": one((auroc or 0.0) - shift, 0.6, "added histograms, logit-DeLong"),
        "average_precision": one(0.79 - shift, 1.2, "added histograms, bootstrap"),
        "operating_points": [
            {
                "threshold": threshold,
                "sensitivity": one(0.78 - (0.11 if value.startswith("F") else 0.0) - penalty),
                "specificity": one(0.81 + penalty / 2),
                "ppv": one(0.74 + penalty / 2),
                "npv": one(0.85 - penalty / 2),
            }
            for threshold, penalty in ((0.5, 0.0), (0.7, 0.2))
        ],
        "calibration": {
            "intercept": one(-0.12, 3.0, "weighted logistic fit"),
            "slope": one(0.93, 2.0, "weighted logistic fit") if shown else one(0.0),
            "observed_expected": one(0.96, 1.5, "ratio"),
        },
    }


def _fairness(names: list[str], verdict: str) -> dict[str, Any]:
    tests = [test for name in names for test in _tests(name, verdict)]
    return {"verdict": verdict, "n_tested": sum(test["p"] is not None for test in tests), "tests": tests}


def no_sum(reason: str) -> dict[str, Any]:
    """The audit of a run in which the hospitals' counts were never opened."""
    return audit() | {"sites_in_sum": [], "reason": reason, "classes": [], "fairness": None, "missingness": []}


def _tests(name: str, verdict: str) -> list[dict[str, Any]]:
    found = verdict == "fail"

    def test(
        attribute: str, figure: str, gap: float, null: float, p: Any, holm: Any, margin: Any, said: Any, **more: Any
    ) -> Any:
        sites = attribute == "site"
        return {
            "class": name,
            "attribute": attribute,
            "figure": figure,
            "threshold": None,
            "gap": {"value": gap, "lo": round(max(0.0, gap - 0.05), 6), "hi": round(gap + 0.05, 6)},
            "null_gap": null,
            "p": p,
            "p_holm": holm,
            "margin": margin,
            "verdict": said,
            "lowest": "uz-leuven" if sites else "F",
            "highest": "charite" if sites else "M",
            "worst": {"group": "uz-leuven" if sites else "F", "value": 0.812, "lo": 0.78, "hi": 0.84},
            "groups": ["charite", "san-raffaele", "uz-leuven"] if sites else ["F", "M"],
            "left_out": {"st-elsewhere": "took_no_part"} if sites else {"O": "small_cell", "unknown": "complement"},
        } | more

    return [
        test("site", "auroc", 0.029, 0.031, 0.41, 1.0, 0.05, "insufficient"),
        test("sex", "auroc", 0.082, 0.024, 0.0004, 0.0024, 0.05, "fail" if found else "pass"),
        test("sex", "sensitivity", 0.11, 0.043, 0.012, 0.048, 0.1, "fail" if found else "pass", threshold=0.5),
        test("sex", "false_positive_rate", 0.012, 0.038, 0.8, 1.0, 0.1, "pass", threshold=0.5),
        test("sex", "equalised_odds", 0.11, 0.052, None, 0.048, 0.1, "fail" if found else "pass", threshold=0.5)
        | {"same_as": "sensitivity, false_positive_rate"},
        test("sex", "observed_expected", 0.04, 0.05, None, None, None, None),
        test("sex", "calibration_slope", 0.06, 0.07, 0.5, 1.0, [0.8, 1.25], "insufficient" if verdict != "pass" else "pass"),
        test(
            "age",
            "auroc",
            0.025,
            0.046,
            0.71,
            1.0,
            0.05,
            "insufficient" if verdict != "pass" else "pass",
            lowest="0-39",
            highest="40-59",
            groups=["0-39", "40-59", "60-79", "80+"],
            left_out={"unknown": "too_few"},
        ),
    ]
