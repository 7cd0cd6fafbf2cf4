"""What a plan promises: the same figures from the same plan, the worst part counted, and refusals that name the key."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import pytest

from privacy.accounting import epsilon
from privacy.events import metric_event, training_event
from privacy.guarantee import guarantee_of, score_releases, steps_per_round
from privacy.utility import cohort_table, noise_to_signal
from protocol.errors import PlanError, PrivacyError
from protocol.plan import Plan
from tests.conftest import tiny_plan

LOCAL = {"mechanism": "local", "noise_multiplier": 2.0, "batch_patients": 20}


def plan_with(privacy: dict[str, Any], **changes: Any) -> Plan:
    return tiny_plan(**{"privacy": privacy, "evaluation.alone": False, "federation.weighting": "uniform"} | changes)


def test_the_noise_of_the_plan_gives_the_epsilon_of_the_worst_part() -> None:
    plan = plan_with(LOCAL, **{"federation.rounds": 100})
    guarantee = guarantee_of(plan)
    assert (guarantee.steps, guarantee.steps_per_round, guarantee.noise_multiplier) == (300, 3, 2.0)
    assert guarantee.epsilon_by_part == {
        "train": epsilon([training_event(2.0, 0.1, 300)], 1e-6),
        "validation": epsilon([metric_event(0.3, 100)], 1e-6),
        "test": epsilon([metric_event(0.3)], 1e-6),
    }
    assert guarantee.epsilon == max(guarantee.epsilon_by_part.values()) == guarantee.epsilon_by_part["validation"]
    assert "above 8" in guarantee.notes[0]


def test_the_epsilon_of_the_plan_gives_the_noise() -> None:
    plan = plan_with({"mechanism": "local", "epsilon": 3.0, "batch_patients": 20}, **{"federation.rounds": 5})
    guarantee = guarantee_of(plan)
    assert guarantee.epsilon == guarantee.epsilon_by_part["train"] <= 3.0
    assert guarantee.epsilon == pytest.approx(3.0, abs=0.01)
    assert guarantee.notes == ()
    assert guarantee_of(plan) == guarantee


def test_a_patient_at_more_hospitals_needs_more_noise() -> None:
    one, two = (
        guarantee_of(plan_with({"mechanism": "local", "epsilon": 3.0, "batch_patients": 20, "max_silos_per_patient": k}))
        for k in (1, 2)
    )
    assert two.noise_multiplier > one.noise_multiplier
    assert two.epsilon_by_part["test"] == pytest.approx(2 * one.epsilon_by_part["test"], abs=1e-3)


def test_scores_that_alone_cost_too_much_are_refused_with_the_keys_to_change() -> None:
    plan = plan_with({"mechanism": "local", "epsilon": 1.0, "batch_patients": 20}, **{"federation.rounds": 50})
    with pytest.raises(PlanError, match=r"validation scores alone.*metrics_epsilon.*evaluation\.every"):
        guarantee_of(plan)
    rarely = guarantee_of(
        plan_with(
            {"mechanism": "local", "epsilon": 1.0, "batch_patients": 20}, **{"federation.rounds": 50, "evaluation.every": 25}
        )
    )
    assert rarely.epsilon <= 1.0


@pytest.mark.parametrize(
    ("rounds", "every", "releases"), [(10, 1, 10), (10, 3, 4), (10, 5, 2), (10, 10, 1), (10, 11, 1), (1, 1, 1)]
)
def test_scores_are_released_when_the_plan_says_so_and_after_the_last_round(rounds: int, every: int, releases: int) -> None:
    plan = plan_with(LOCAL, **{"federation.rounds": rounds, "evaluation.every": every})
    expected = sum(number % every == 0 or number == rounds for number in range(1, rounds + 1))
    assert score_releases(plan) == {"validation": expected, "test": 1}
    assert expected == releases


def test_without_a_validation_part_no_validation_scores_leave() -> None:
    plan = plan_with(LOCAL, **{"data.split.validation_fraction": 0.0, "data.split.use_fold_column": False})
    guarantee = guarantee_of(plan)
    assert guarantee.epsilon_by_part["validation"] == 0.0
    assert set(guarantee.events) == {"train", "test"}


@pytest.mark.parametrize(("rate", "steps"), [(0.1, 20), (0.07, 30), (0.3, 8), (1.0, 2)])
def test_a_pass_is_as_many_steps_as_the_rate_says(rate: float, steps: int) -> None:
    plan = plan_with(LOCAL | {"sampling_rate": rate}, **{"training.local_steps": None, "training.local_epochs": 2})
    assert steps_per_round(plan) == steps


def test_full_sampling_takes_no_credit_for_sampling() -> None:
    guarantee = guarantee_of(plan_with(LOCAL | {"sampling": "full"}))
    assert guarantee.sampling_rate == 1.0
    assert guarantee.epsilon_by_part["train"] == epsilon([training_event(2.0, 1.0, 9)], 1e-6)


def test_without_a_mechanism_epsilon_is_infinite() -> None:
    guarantee = guarantee_of(tiny_plan())
    assert guarantee.epsilon == math.inf
    assert guarantee.as_json()["epsilon"] is None
    assert "epsilon: infinite" in guarantee.notes[0]
    with pytest.raises(PrivacyError):
        noise_to_signal(tiny_plan(), guarantee, 10)


def test_the_promise_is_json() -> None:
    value = guarantee_of(plan_with(LOCAL | {"delta": 1e-4})).as_json()
    assert json.loads(json.dumps(value)) == value
    assert value["unit"] == "patient"
    assert "delta" in value["notes"][-1]


def test_noise_against_signal() -> None:
    """By hand: sigma 2, 400 values, 20 patients a step, 3 steps a round."""
    plan = plan_with(LOCAL | {"clip_norm": 0.5})
    ratio = noise_to_signal(plan, guarantee_of(plan), 400)
    assert ratio.per_step == pytest.approx(2 * 20 / 20)
    assert ratio.per_round == pytest.approx(2 / math.sqrt(3))
    assert ratio.along_gradient == pytest.approx(2 / (20 * math.sqrt(3)))
    assert ratio.per_coordinate == pytest.approx(2 * 0.5 / 20)


def test_larger_hospitals_pay_less_for_the_same_batch_and_drown_less_at_the_same_rate() -> None:
    rows = cohort_table(plan_with(LOCAL), 400)
    assert [row.patients for row in rows] == [100, 300, 1000, 3000, 10_000]
    assert [row.epsilon for row in rows] == sorted((row.epsilon for row in rows), reverse=True)
    assert rows[0].sampling_rate == 0.2
    assert rows[0].per_step == pytest.approx(2 * 20 / 10)
    assert rows[1].per_step == pytest.approx(rows[0].per_step / 3)


def test_nothing_heavy_is_imported_before_a_figure_is_asked_for() -> None:
    code = "import sys, privacy.guarantee; print([m for m in ('dp_accounting', 'scipy', 'torch') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip() == "[]"
