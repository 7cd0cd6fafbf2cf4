"""The budget: one order fixed beforehand, per study and in total, refused before anything is released."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privacy.accounting import epsilon, epsilon_to_renyi, renyi, renyi_to_epsilon, worst_epsilon
from privacy.events import metric_event, training_event
from privacy.ledger import Budget, refuse_if_over, spent_epsilon
from privacy.ledger.budget import by_job
from protocol.errors import BudgetError
from tests.privacy.ledgers import ROUND, SCORES, charge, new

LIMIT = Budget(max_epsilon_per_study=8.0, max_epsilon_total=20.0, delta=1e-6)


@pytest.mark.parametrize(("total", "order"), [(1.0, 22), (8.0, 4), (20.0, 3)])
def test_the_order_depends_on_the_limit_alone_and_is_the_best_for_a_gaussian(total: float, order: int) -> None:
    budget = Budget(total, total, 1e-6)
    assert budget.order == order
    largest = {a: epsilon_to_renyi(total, a, 1e-6) / a for a in range(2, 200)}
    assert largest[order] == max(largest.values())
    assert renyi_to_epsilon(budget.allowed, order, 1e-6) == pytest.approx(total)


def test_a_gaussian_that_fits_fills_the_budget_and_not_more() -> None:
    sigma = (LIMIT.order / (2 * LIMIT.allowed)) ** 0.5
    event = training_event(sigma * 1.0001, 1.0, 1)
    assert 0.999 < LIMIT.share([{"train": [event]}]) <= 1.0
    assert LIMIT.epsilon_left(0.0) == pytest.approx(epsilon([event], 1e-6), rel=1e-3)
    assert LIMIT.epsilon_left(0.0) < 20.0
    assert LIMIT.epsilon_left(1.0) == 0.0


def test_a_study_within_its_limit_is_charged_to_its_last_round(tmp_path: Path) -> None:
    """Declared beforehand and charged round by round it costs the same, so the last round is not refused."""
    ledger = new(tmp_path)
    study = [training_event(3.031, 0.1, 20)] * 100
    refuse_if_over(ledger, LIMIT, "job-1", {"train": study})
    for number, event in enumerate(study[:98]):
        ledger.charge(study="s", plan="p", job="job-1", release=f"round/{number}", part="train", event=event, delta=1e-6)
    for number in (98, 99):
        charge(ledger, number, event=study[0], budget=LIMIT)
    assert spent_epsilon(ledger).epsilon == pytest.approx(8.0, abs=1e-3)
    with pytest.raises(BudgetError, match=r"would cost a train patient epsilon 8\.0.*max_epsilon_per_study is 8"):
        charge(ledger, 100, event=study[0], budget=LIMIT)
    assert len(ledger.entries) == 100
    charge(ledger, release="scores/100", part="test", event=SCORES, budget=LIMIT)  # other patients


def test_what_is_declared_is_refused_before_the_first_round(tmp_path: Path) -> None:
    ledger = new(tmp_path)
    with pytest.raises(BudgetError, match="validation patient"):
        refuse_if_over(ledger, LIMIT, "job-1", {"train": [ROUND], "validation": [metric_event(1.0, 30)]})
    refuse_if_over(ledger, LIMIT, "job-1", {"train": [ROUND]})


def test_studies_add_up_and_the_next_one_is_refused_with_what_is_left(tmp_path: Path) -> None:
    ledger = new(tmp_path)
    study = training_event(3.031, 0.1, 2000)  # epsilon 8
    accepted = int(1.0 / LIMIT.share([{"train": [study]}]))
    for number in range(accepted):
        charge(ledger, job=f"job-{number}", event=study, budget=LIMIT)
    with pytest.raises(BudgetError, match=r"is spent, which leaves room for one study of about epsilon \d") as refusal:
        charge(ledger, job="too-much", event=study, budget=LIMIT)
    assert accepted >= 2
    assert "max_epsilon_total" in str(refusal.value)
    assert spent_epsilon(ledger, 1e-6).epsilon <= 20.0
    spent = LIMIT.share(by_job(ledger.entries).values())
    assert spent == pytest.approx(accepted * renyi([study], LIMIT.order) / LIMIT.allowed)
    smaller = training_event((LIMIT.order / (2 * LIMIT.allowed * (1 - spent))) ** 0.5 * 1.001, 1.0, 1)
    charge(ledger, job="last", event=smaller, budget=LIMIT)


def test_parts_of_one_study_do_not_add_up_and_those_of_different_studies_do(tmp_path: Path) -> None:
    ledger = new(tmp_path)
    charge(ledger, event=metric_event(1.0, 4), part="train", job="a")
    one = LIMIT.share(by_job(ledger.entries).values())
    charge(ledger, 2, event=metric_event(1.0, 4), part="test", job="a")
    assert LIMIT.share(by_job(ledger.entries).values()) == one
    charge(ledger, event=metric_event(1.0, 4), part="test", job="b")
    assert LIMIT.share(by_job(ledger.entries).values()) == pytest.approx(2 * one)


def test_a_limit_too_small_for_anything_refuses_everything(tmp_path: Path) -> None:
    ledger = new(tmp_path)
    with pytest.raises(BudgetError):
        charge(ledger, event=training_event(10_000.0, 1.0, 1), budget=Budget(1.0, 1e-4, 1e-9))


def test_a_release_already_charged_is_not_charged_to_the_budget_again(tmp_path: Path) -> None:
    ledger = new(tmp_path)
    room = int(1.0 / LIMIT.share([{"train": [training_event(3.0, 1.0, 1)]}]))
    for number in range(room):
        charge(ledger, number, job=f"job-{number}", event=training_event(3.0, 1.0, 1), budget=LIMIT)
    assert not charge(ledger, 0, job="job-0", event=training_event(3.0, 1.0, 1), budget=LIMIT).fresh
    with pytest.raises(BudgetError):
        charge(ledger, room, job="more", event=training_event(3.0, 1.0, 1), budget=LIMIT)


events = st.one_of(
    st.tuples(st.floats(0.7, 20.0), st.sampled_from([0.05, 0.1, 1.0]), st.integers(1, 300)).map(lambda t: training_event(*t)),
    st.tuples(st.floats(0.05, 2.0), st.integers(1, 10)).map(lambda t: metric_event(*t)),
)
requests = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["train", "validation", "test"]), events), max_size=12)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from([1.0, 4.0, 12.0]), requests)
def test_whatever_is_asked_in_whatever_order_the_total_is_kept(
    tmp_path_factory: pytest.TempPathFactory, total: float, asked: list[tuple[str, str, object]]
) -> None:
    ledger, budget = new(tmp_path_factory.mktemp("asked")), Budget(1e9, total, 1e-6)
    for number, (job, part, event) in enumerate(asked):
        try:
            charge(ledger, number, job=job, part=part, event=event, budget=budget)
        except BudgetError:
            continue
    jobs = by_job(ledger.entries)
    assert budget.share(jobs.values()) <= 1.0
    assert worst_epsilon(list(jobs.values()), 1e-6) <= total
