"""Bundles of jobs that mitigate: what the report says of it follows from the evidence, and a changed figure does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PRIVATE, tiny_plan
from tests.evaluation.verify.jobs import broken, case, words

SECURE = {"mechanism": "none", "secure_aggregation": True}
EVERYTHING: dict[str, Any] = {
    "evaluation": {"alone": False, "recalibrate": "platt", "site_threshold": {"sensitivity": 0.8}},
    "federation.weighting": "worst_site",
    "federation.fairness_rate": 5.0,
}
PLANS = {
    "readable": EVERYTHING | {"privacy": SECURE | {"secure_aggregation": False}},
    "masked": EVERYTHING | {"privacy": SECURE},
    "sums": {
        "evaluation": {"alone": False, "recalibrate": "intercept", "scores": "summed"},
        "federation.weighting": "q_ffl",
        "federation.fairness_q": 1.0,
        "privacy": SECURE,
    },
    "private": PRIVATE | {"federation.weighting": "worst_site"},
}


@pytest.mark.parametrize("name", list(PLANS))
def test_the_evidence_bears_every_figure_of_the_mitigation(name: str, tmp_path: Path) -> None:
    job = case(tiny_plan(**PLANS[name]), tmp_path)
    findings = job.verify(again=False)
    assert findings.sound, words(findings)
    job.put_report(_prettier)
    assert broken(job.verify()) == {("report", "report")}


def _prettier(report: dict[str, Any]) -> None:
    for entry in report["mitigation"]:
        if entry["kind"] in ("worst_site", "q_ffl"):
            entry["rounds"][0]["weights"] = {"s0": 1.0}
        elif entry["kind"] == "recalibrate":
            entry["after"]["auroc"]["n_band"] = "1000+"
