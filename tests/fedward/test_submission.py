"""What could never run is refused when it is submitted, not hours later by every hospital."""

from __future__ import annotations

from pathlib import Path

import pytest

from aggregator.consortium.office import Office
from fedward.submission import refuse_hopeless
from protocol.errors import InputError, PlanError
from tests.aggregator.consortium.brokers import hospital, make_office
from tests.conftest import tiny_plan


@pytest.fixture
def office(tmp_path: Path) -> Office:
    made = make_office(tmp_path / "office")
    for name in ("north", "south"):
        hospital(made, tmp_path, name)
    return made


def test_a_plan_that_fits_is_taken(office: Office) -> None:
    refuse_hopeless(tiny_plan(), office)


def test_a_promise_that_the_scores_alone_would_break(office: Office) -> None:
    private = {"mechanism": "local", "epsilon": 3.0, "batch_patients": 5, "metrics_epsilon": 3.0, "secure_aggregation": False}
    plan = tiny_plan(**{"privacy": private, "evaluation.alone": False, "federation.weighting": "uniform"})
    with pytest.raises(PlanError, match="metrics_epsilon"):
        refuse_hopeless(plan, office)


def test_a_quorum_of_more_hospitals_than_there_are(office: Office) -> None:
    with pytest.raises(InputError, match="has 2 hospitals, the plan's quorum is 3"):
        refuse_hopeless(tiny_plan(**{"federation.quorum": 3}), office)


def test_weights_declared_for_somebody_else(office: Office) -> None:
    weights = {"north": 1.0, "west": 2.0}
    plan = tiny_plan(**{"federation.weighting": "declared", "federation.declared_weights": weights})
    with pytest.raises(PlanError, match="west"):
        refuse_hopeless(plan, office)
