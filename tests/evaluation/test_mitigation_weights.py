"""What a report may say of weights: nothing that tells how many images or patients a hospital has."""

from __future__ import annotations

import dataclasses
import math
from itertools import product
from typing import Any

import msgspec
import numpy as np
import pytest

from aggregator.records import ScoresRecord
from aggregator.weights import weights_after
from evaluation.federated import site_auroc
from evaluation.report.build import build_report
from evaluation.report.mitigation import mitigation
from evaluation.scoring import class_scores
from protocol.messages import Scores
from protocol.plan.fairness import loss_steps
from tests.conftest import tiny_plan
from tests.evaluation.made_up_runs import make_private_summary, make_summary, scores_of

WORST = {"federation.weighting": "worst_site", "federation.fairness_rate": 5.0}
SMALL, LARGE = {"a": 40, "b": 40, "c": 24}, {"a": 400, "b": 400, "c": 400}


def run(n_tests: dict[str, int], weights: dict[str, float] | None = None, **changes: Any) -> Any:
    """A summary under worst_site with these weights in every round; half as many images validate as test."""
    summary = make_summary(n_tests, n_rounds=2)
    plan = tiny_plan(**WORST | {"task.class_names": ["no finding", "pneumonia"]} | changes)
    told = {"a": 0.5, "b": 1.0, "c": 0.7} if weights is None else weights
    rounds = tuple(dataclasses.replace(one, weights=told) for one in summary.rounds)
    return dataclasses.replace(summary, plan=plan.to_json(), plan_digest=plan.digest, rounds=rounds)


def entry(summary: Any) -> dict[str, Any]:
    (one,) = mitigation(summary, ["pneumonia"])
    return one


def test_shares_are_shown_where_every_validation_rests_on_many() -> None:
    found = entry(run(LARGE))
    assert found["rounds"][0]["weights"] == {"a": 0.227, "b": 0.455, "c": 0.318}
    assert "why" not in found


def test_no_share_is_shown_where_one_hospital_validates_on_few() -> None:
    found = entry(run({**LARGE, "c": 24}))
    assert [one["weights"] for one in found["rounds"]] == [None, None]
    assert found["why"] == "small_cell"
    report = build_report(run({**LARGE, "c": 24}))
    assert all(one["weights"] is None for one in report["mitigation"][0]["rounds"])


def test_the_smallest_cell_is_that_of_the_plan_s_audit() -> None:
    n = {**LARGE, "c": 60}  # some 12 positives and 18 negatives validate
    few = min((one.n_positive, one.n_negative) for one in run(n).rounds[0].validation["c"].classes)[0]
    evaluation = {"alone": False, "audit": {"attributes": [], "smallest_cell": few}}
    assert "why" not in entry(run(n, evaluation=evaluation))
    evaluation["audit"]["smallest_cell"] = few + 3
    assert entry(run(n, evaluation=evaluation))["why"] == "small_cell"


def test_masked_weights_are_said_to_be_masked() -> None:
    assert entry(run(LARGE, weights={}))["why"] == "masked"


def test_under_noise_they_are_shown_for_they_follow_what_was_paid_for() -> None:
    summary = make_private_summary(n_rounds=1)
    rounds = tuple(dataclasses.replace(one, weights={"charite": 1.0, "uz-leuven": 0.5}) for one in summary.rounds)
    plan = tiny_plan(**WORST).to_json()
    found = entry(dataclasses.replace(summary, rounds=rounds, plan=plan))
    assert found["rounds"][0]["weights"] == {"charite": 0.667, "uz-leuven": 0.333}


def test_shares_of_few_validations_would_give_the_numbers_of_cases_away() -> None:
    """Why they are withheld: with one AUROC known, shares give the others, and an AUROC of few cases gives their numbers."""
    plan = tiny_plan(**WORST)
    labels, rows = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0]), np.linspace(-2.0, 2.0, 10)[[9, 6, 4, 0, 1, 2, 3, 5, 7, 8]]
    few = scores_of(labels, logs(rows), split="validation")
    many = scores_of(np.repeat([0, 1], 200), logs(np.random.default_rng(5).normal(size=400)), split="validation")
    record = ScoresRecord(1, "federated", "validation", 0.0, {"few": few, "many": many}, {})
    weights = weights_after(plan, ["few", "many"], [record], [])
    floor = plan.federation.fairness_floor
    raised = {silo: (weight - floor / 2) / (1 - floor) for silo, weight in weights.items()}
    known = site_auroc(many).value
    assert known is not None
    auroc = known - math.log(raised["few"] / raised["many"]) / plan.federation.fairness_rate
    pairs = {(p, n) for p, n in product(range(1, 11), repeat=2) if abs(auroc * p * n - round(auroc * p * n)) < 1e-6}
    assert (3, 7) in pairs
    assert len(pairs) < 10  # of a hundred


def logs(logits: np.ndarray) -> np.ndarray:
    both = np.column_stack([np.zeros_like(logits), logits])
    return both - np.logaddexp.reduce(both, axis=1, keepdims=True)


@pytest.mark.parametrize("measure", ["auroc", "loss"])
def test_ten_times_the_images_of_a_hospital_leave_every_weight_as_it_was(measure: str) -> None:
    plan = tiny_plan(**WORST, **{"federation.fairness_measure": measure})
    scores = make_summary(LARGE, n_rounds=1).rounds[0].validation

    def weights(times: int) -> dict[str, float]:
        told = {**scores, "a": repeated(scores["a"], times)}
        return weights_after(plan, sorted(told), [ScoresRecord(1, "federated", "validation", 0.0, told, {})], [])

    assert weights(10) == pytest.approx(weights(1), abs=1e-12)
    assert len(set(weights(1).values())) > 1


def repeated(scores: Any, times: int) -> Scores:
    """The same images so many times over: AUROC and loss stay."""
    (one,) = scores.classes
    more = msgspec.structs.replace(
        one,
        n_positive=one.n_positive * times,
        n_negative=one.n_negative * times,
        histogram_positive=tuple(n * times for n in one.histogram_positive),
        histogram_negative=tuple(n * times for n in one.histogram_negative),
    )
    return msgspec.structs.replace(scores, n=scores.n * times, classes=(more,))


def test_a_weight_by_loss_is_a_function_of_the_loss_alone() -> None:
    federation = tiny_plan(**{"federation.weighting": "q_ffl", "federation.fairness_q": 1.0}).federation
    assert loss_steps(federation, 0.5) == 2500  # of 10,000, at a bound of 2: no number of images is asked for
    rows = class_scores(np.array([0, 1]), logs(np.array([-1.0, 1.0])))
    assert {field for field in type(rows[0]).__struct_fields__ if field.startswith("n_")} == {"n_positive", "n_negative"}
