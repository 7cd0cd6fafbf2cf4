"""What MLflow shows of an audit: names it takes, the report's own figures, and nothing that the report withholds."""

from __future__ import annotations

import copy
from pathlib import Path

from aggregator.events import Audited
from aggregator.tracking.audit_names import of_audit, of_content
from tests.aggregator.audited_hospitals import audited, audited_plan, done, hospitals
from tests.evaluation.made_up_audit import audit, no_sum


def test_every_name_is_one_that_mlflow_takes_and_every_value_the_report_s() -> None:
    from mlflow.utils.validation import _validate_metric_name

    content = audit()
    found = of_content(content)
    for name in found:
        _validate_metric_name(name)
    groups = {(one["attribute"], one["value"]): one for one in content["classes"][0]["groups"]}
    assert found["eval/subgroup/sex:F/auroc"] == groups["sex", "F"]["auroc"]["value"]
    assert found["eval/subgroup/age:80 and up/tpr"] == groups["age", "80+"]["operating_points"][0]["sensitivity"]["value"]
    assert found["eval/subgroup/sex x age:F x 60-79/tpr_at_0.7"] is not None
    assert found["eval/subgroup/all:all/calibration_slope"] == groups["all", "all"]["calibration"]["slope"]["value"]
    assert found["fairness/sex/auroc_gap"] == 0.082
    assert found["fairness/sex/sensitivity_gap"] == 0.11


def test_nothing_that_the_report_withholds_is_logged() -> None:
    found = of_content(audit())
    for withheld in ("site:st-elsewhere", "sex:O", "sex:unknown", "age:unknown"):
        assert not [name for name in found if f"/{withheld}/" in name]
    hidden = copy.deepcopy(audit())
    for group in hidden["classes"][0]["groups"]:
        group["auroc"]["value"] = None
    assert not [name for name in of_content(hidden) if name.startswith("eval/") and name.endswith("/auroc")]
    assert of_content(no_sum("too few")) == {}


def test_with_several_classes_each_stands_before_its_figures() -> None:
    names = set(of_content(audit(n_classes=4)))
    assert {"eval/subgroup/sex:F/pneumonia/auroc", "eval/subgroup/sex:F/no finding/auroc"} <= names
    assert "eval/subgroup/sex:F/auroc" not in names


def test_an_audit_that_was_made_is_logged_as_the_report_has_it(tmp_path: Path) -> None:
    plan = audited_plan(audit={"smallest_cell": 3})
    job, _ = audited(plan, tmp_path, hospitals(tmp_path))
    record = done(job)
    found = of_audit(Audited(record, job.audit_layout, plan))
    assert 0.0 <= found["eval/subgroup/all:all/auroc"] <= 1.0
    assert 0.0 <= found["eval/subgroup/all:all/tpr_at_0.3"] <= 1.0
