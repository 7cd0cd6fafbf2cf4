"""The model card: what it says, what it may not say, and that it stands in MLflow with the model's version."""

from __future__ import annotations

from pathlib import Path

import pytest

from aggregator.tracking.card import card_tags, description, model_card
from evaluation.report.build import build_report
from evaluation.report.finish import finished
from tests.evaluation.made_up_audit import audited_report
from tests.evaluation.made_up_runs import make_summary
from tests.evaluation.test_report_page import NASTY

DOCS = Path(__file__).parents[2] / "docs" / "mlflow.md"


def test_it_says_for_whom_how_well_and_at_what_cost():
    card = model_card(finished(audited_report(n_rounds=1)))
    assert "**Intended use.** Research: rank frontal chest radiographs" in card
    assert "| charite | 1,470 |" in card
    assert "| pneumonia, sex F | 0.812 (0.789–0.835) |" in card
    assert "| pneumonia, sex O | not shown: fewer than 11 cases in a cell |" in card
    assert "Fairness, against the plan's margins: **fail**." in card
    assert "- AUROC of pneumonia by sex: gap 0.082 (0.032 to 0.132), F to M" in card
    assert "epsilon: infinite" in card
    assert "Not evaluated: " in card


def test_a_finding_that_has_no_gap_of_its_own_is_told_by_the_one_it_follows_from():
    report = finished(audited_report(n_rounds=1))
    odds = next(test for test in report["audit"]["fairness"]["tests"] if test["figure"] == "equalised_odds")
    assert odds["verdict"] == "fail"
    odds |= {"gap": dict.fromkeys(("value", "lo", "hi")), "lowest": None, "highest": None, "groups": []}
    card = model_card(report)
    assert "- Sensitivity (equal opportunity) of pneumonia by sex" in card
    assert "Equalised odds" not in card


def test_under_privacy_it_holds_no_counts():
    card = model_card(finished(audited_report(n_rounds=1, private=True)))
    assert "they release no counts of their cohorts" in card
    assert "| patients |" not in card


def test_without_an_audit_groups_are_not_measured():
    report = build_report(make_summary({"a": 60, "b": 60}, n_rounds=1))
    assert "By group of patients: not measured." in model_card(report)
    assert card_tags(report)["fl.fairness"] == "not measured"


def test_what_people_wrote_is_no_markdown():
    report = finished(audited_report(n_rounds=1)) | {"title": NASTY, "intended_use": "a\n# b | `c` [d](e)"}
    card = model_card(report)
    assert "<script" not in card
    assert "\n# b" not in card
    assert "\\[d\\](e)" in card


def test_the_version_s_description_is_as_long_as_the_registry_bears():
    report = finished(audited_report(n_rounds=1, n_classes=4))
    assert len(model_card(report)) > 5000
    assert len(description(report)) <= 5000
    assert "the whole card is the run's artifact" in description(report)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Three jobs of one plan as MLflow has them, by worst hospital and epsilon; the first was drawn twice."""
    from mlflow import MlflowClient

    from aggregator.tracking.mlflow_tracker import MlflowTracker
    from protocol.vectors import save_tensors
    from tests.conftest import tiny_plan

    folder = tmp_path_factory.mktemp("registry")
    uri, plan = f"sqlite:///{folder / 'mlflow.db'}", tiny_plan()
    client = MlflowClient(uri)
    experiment = client.create_experiment(plan.name, artifact_location=(folder / "artifacts").as_uri())
    (folder / "plan.yaml").write_bytes(plan.canonical)
    from protocol.network import build_network, tensors_of
    from protocol.parts import shared_layout

    network = build_network(plan)
    layout = shared_layout(network, frozenset())
    save_tensors(folder / "model.safetensors", dict(layout.unflatten(layout.flatten(tensors_of(network)))))
    for job, worst, epsilon in (("a", 0.71, 8.0), ("a", 0.71, 8.0), ("b", 0.79, 3.0), ("c", 0.83, 12.0)):
        found = client.search_runs([experiment], f"tags.`fl.job` = '{job}'")
        tags = {"fl.job": job, "fl.role": "job"}
        run = found[0] if found else client.create_run(experiment, tags=tags, run_name=job)
        client.log_metric(run.info.run_id, "privacy/epsilon_max", epsilon, step=3)
        report = finished(audited_report(n_rounds=1, private=True)) | {"job": job}
        report["performance"]["worst_site"]["auroc"]["value"] = worst
        tracker = MlflowTracker(uri, None, {})
        tracker._client, tracker._parent = client, run.info.run_id
        tracker.finish("FINISHED", {}, plan, folder / "model.safetensors", "", report)
        assert tracker.problem == ""
    return client, experiment, plan.name


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_card_stands_with_the_model_s_one_version_of_each_job(drawn):
    client, experiment, name = drawn
    versions = {version.tags["fl.job"]: version for version in client.search_model_versions(f"name = '{name}'")}
    assert len(client.search_model_versions(f"name = '{name}'")) == len(versions) == 3
    assert versions["a"].description.startswith("# Pneumonia on chest radiographs")
    assert versions["a"].tags["fl.worst_site_auroc"] == "0.710000"
    (run,) = client.search_runs([experiment], "tags.`fl.job` = 'a'")
    assert "model-card.md" in [item.path for item in client.list_artifacts(run.info.run_id)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_jobs_can_be_filtered_and_sorted_as_the_guide_says(drawn):
    client, experiment, _ = drawn
    guide = DOCS.read_text(encoding="utf-8")
    wanted = "tags.`fl.role` = 'job' and metrics.`privacy/epsilon_max` <= 8"
    order = "metrics.`test/worst_site_auroc` DESC"
    assert wanted in guide
    assert order in guide
    found = client.search_runs([experiment], wanted, order_by=[order])
    assert [run.data.tags["fl.job"] for run in found] == ["b", "a"]
