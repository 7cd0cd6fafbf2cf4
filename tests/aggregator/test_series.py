"""How hospitals differ by round: what can be told is told, and where a curve has no point a tag says why."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from aggregator.events import JobOpened, Scored
from aggregator.records import RosterRecord, ScoresRecord
from aggregator.tracking import MlflowTracker
from aggregator.tracking.series import FAIRNESS, PRIVACY, at_start, of_sites, said, why_no_worst
from evaluation.federated import site_auroc, worst_site
from evaluation.measure import AnyScores
from protocol.plan import Plan
from tests.conftest import PRIVATE, tiny_plan
from tests.evaluation.made_up_runs import draw_rows, draw_scores, make_summary, noised

MANY = {site.id: site.federated for site in make_summary().sites if site.federated is not None}


def record(
    scores: Mapping[str, AnyScores], number: int = 3, kind: str = "federated", split: str = "validation"
) -> ScoresRecord:
    return ScoresRecord(number, kind, split, 0.0, dict(scores), {})  # type: ignore[arg-type]


def test_worst_gap_and_spread_are_those_of_the_report() -> None:
    found, worst = of_sites(record(MANY)), worst_site(MANY)
    assert worst is not None
    assert found["fairness/site/worst_auroc"] == worst[1].value
    values = [one.value for scores in MANY.values() if (one := site_auroc(scores)).estimable and one.value is not None]
    assert found["fairness/site/gap_auroc"] == pytest.approx(max(values) - min(values))
    assert found["fairness/site/tau_auroc"] >= 0.0
    assert found["fairness/site/measured"] == len(values)


def test_only_validations_of_the_common_model_make_points() -> None:
    for other in (record(MANY, kind="alone"), record(MANY, split="test")):
        assert of_sites(other) == {}
        assert why_no_worst(other) == ""


def test_one_hospital_alone_bounds_the_worst_from_above_and_is_not_called_it() -> None:
    single = dict(list(MANY.items())[:1])
    found, (scores,) = of_sites(record(single)), single.values()
    assert found == {
        "fairness/site/measured": 1.0,
        "fairness/site/worst_auroc_at_most": site_auroc(scores).estimate().hi,
    }


def test_noise_that_leaves_nobody_a_figure_leaves_a_count_and_a_reason() -> None:
    few = {name: noised(draw_rows(seed, 30, 1.0), seed, 0.3, "federated", "validation") for seed, name in enumerate("ab")}
    assert of_sites(record(few)) == {"fairness/site/measured": 0.0}
    assert why_no_worst(record(few)) == "noise left 0 of 2 hospitals a figure"


def test_a_hospital_whose_figures_an_audit_withholds_is_not_the_worst_of_a_curve() -> None:
    scores = {**MANY, "low": draw_scores(5, 26, -1.0)}  # some ten positives
    (one,) = scores["low"].classes
    smallest = min(one.n_positive, one.n_negative) + 1
    assert smallest > 10
    shown, hidden = of_sites(record(scores)), of_sites(record(scores), smallest)
    assert shown["fairness/site/worst_auroc"] == site_auroc(scores["low"]).value
    assert hidden["fairness/site/worst_auroc"] > shown["fairness/site/worst_auroc"]
    assert hidden["fairness/site/measured"] == shown["fairness/site/measured"] - 1


def test_the_tag_names_the_rounds_without_a_point_and_why() -> None:
    assert said({5: None, 10: None}) == "fairness/site/worst_auroc, by round"
    why = "noise left 1 of 4 hospitals a figure"
    assert said({10: why, 5: why}) == f"no fairness/site/worst_auroc - after round 5, 10: {why}"
    assert said({10: None, 5: why}) == f"fairness/site/worst_auroc lacks points - after round 5: {why}"


def test_a_job_of_sums_and_one_without_privacy_say_so_before_anything_is_scored() -> None:
    sums = tiny_plan(evaluation={"alone": False, "scores": "summed"}, privacy={"mechanism": "none", "secure_aggregation": True})
    assert "only sums of scores leave" in at_start(sums)[FAIRNESS]
    assert "infinite in every round" in at_start(sums)[PRIVACY]
    private = at_start(tiny_plan(**PRIVATE))
    assert private == {FAIRNESS: "no fairness/site/worst_auroc yet: no validation so far", PRIVACY: "privacy/epsilon, by round"}


class _Client:
    """What of MLflow's client the tracker needs here."""

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}
        self.metrics: list[str] = []
        self.ended: dict[str, str] = {}

    def set_tag(self, _: str, key: str, value: str) -> None:
        self.tags[key] = value

    def set_terminated(self, run: str, status: str) -> None:
        self.ended[run] = status

    def log_batch(self, _: str, metrics: list[object] = [], params: list[object] = []) -> None:  # noqa: B006
        self.metrics += [one.key for one in metrics]  # type: ignore[attr-defined]


def test_the_parent_run_has_the_tag_after_every_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    client, plan = _Client(), tiny_plan(**PRIVATE)
    monkeypatch.setattr("aggregator.tracking.mlflow_tracker._client", lambda _: client)
    monkeypatch.setattr(MlflowTracker, "_experiment", lambda *_: "1")
    monkeypatch.setattr(MlflowTracker, "_run", lambda _, __, tags: tags["mlflow.runName"])
    tracker = MlflowTracker("sqlite:///nowhere.db", None, {})
    tracker(JobOpened("job", plan, _roster(plan), 0))
    few = {name: noised(draw_rows(seed, 30, 1.0), seed, 0.3, "federated", "validation") for seed, name in enumerate("ab")}
    for number in (2, 1):
        tracker(Scored(record(few, number)))
    tracker(Scored(record(few, 2, split="test")))
    assert tracker.problem == ""
    assert client.tags[FAIRNESS] == "no fairness/site/worst_auroc - after round 1, 2: noise left 0 of 2 hospitals a figure"
    assert client.metrics.count("fairness/site/measured") == 2


def test_a_report_that_cannot_be_drawn_leaves_no_run_open(monkeypatch: pytest.MonkeyPatch) -> None:
    client, plan = _Client(), tiny_plan()
    monkeypatch.setattr("aggregator.tracking.mlflow_tracker._client", lambda _: client)
    monkeypatch.setattr(MlflowTracker, "_experiment", lambda *_: "1")
    monkeypatch.setattr(MlflowTracker, "_run", lambda _, __, tags: tags["mlflow.runName"])
    tracker = MlflowTracker("sqlite:///nowhere.db", None, {})
    tracker(JobOpened("job", plan, _roster(plan), 0))
    tracker.finish("FINISHED", {}, plan, None, report={"no": "report"})
    assert "KeyError" in tracker.problem
    assert client.ended == {"a": "FINISHED", "b": "FINISHED", "job": "FINISHED"}


def _roster(_: Plan) -> RosterRecord:
    return RosterRecord(configured=("a", "b"), descriptions={}, failures={})
