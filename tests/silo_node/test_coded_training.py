"""A plan's own module trains and scores as the same network of MONAI's does, and no module finds more than one patient."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from privacy.coded.nurseries import borrow, give_back
from privacy.guarantee import guarantee_of
from privacy.randomness import SecureBits
from protocol.errors import CodeError
from protocol.plan import Plan
from protocol.plan.privacy import PatientPrivacy
from silo_node.scoring import log_probabilities, patient_by_patient
from silo_node.training.cohort import Cohort, load_cohort
from silo_node.training.device import pick_device
from silo_node.training.local import Trainer
from silo_node.training.model import SiloModel
from silo_node.training.private import PrivateTrainer
from tests.conftest import PRIVATE, tiny_plan, tiny_store
from tests.privacy.coded.modules import SAME, coded

CPU = torch.device("cpu")
ALL_DRAWN = {**PRIVATE, "privacy": {**PRIVATE["privacy"], "sampling": "full"}, "network.args.dropout": 0.0}


@pytest.fixture
def cohort(tmp_path: Path) -> Callable[[Plan], Cohort]:
    store = tiny_store(tmp_path / "store", n=24)
    return lambda plan: load_cohort(store, plan, tmp_path / "cache")


@pytest.fixture
def models() -> Iterator[Callable[[Plan, Cohort], SiloModel]]:
    made: list[SiloModel] = []

    def make(plan: Plan, cohort: Cohort) -> SiloModel:
        made.append(SiloModel(plan, cohort.input_shape, CPU))
        return made[-1]

    yield make
    for model in made:
        model._built.close()


@pytest.fixture(autouse=True, scope="module")
def _one_nursery() -> Iterator[None]:
    """It takes seconds to start; the tests of this module share one."""
    borrow(tell=False)
    yield
    give_back(tell=False)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns as long as they take: the machine of the tests is busy, and honest patients must not be late."""
    monkeypatch.setattr("privacy.coded.build._turn", lambda *_: 0.0)


def rows_and_update(plan: Plan, cohort: Cohort, model: SiloModel) -> tuple[Any, ...]:
    trainer = Trainer(plan, cohort, model, "site")
    before = trainer.loss()
    outcomes = [trainer.round(number, time.monotonic() + 300) for number in (1, 2)]
    return before, outcomes, model.shared(), log_probabilities(model, cohort, "test")


@pytest.mark.parametrize(("network", "loss"), [("Net", None), (None, "loss"), ("Net", "loss")], ids=["network", "loss", "both"])
def test_without_privacy_two_rounds_and_their_scores_are_the_declarative_plan_s_bit_for_bit(
    network: str | None, loss: str | None, cohort: Any, models: Any
) -> None:
    """With dropout, which draws the same numbers; with augmentation, momentum and the proximal step."""
    plain, own = tiny_plan(), coded(SAME, network, loss)
    given = cohort(plain)
    expected = rows_and_update(plain, given, models(plain, given))
    found = rows_and_update(own, given, models(own, given))
    assert found[0] == expected[0]
    assert found[1] == expected[1]
    assert np.array_equal(found[2], expected[2])
    assert np.array_equal(found[3], expected[3])


def test_clipping_mixed_precision_and_batch_statistics_are_the_declarative_plan_s_too(cohort: Any, models: Any) -> None:
    changes = {
        "training.clip_grad_norm": 0.1,
        "training.mixed_precision": True,
        "federation.personal": ["norm"],
    }
    plain = tiny_plan(**changes, **{"network.args.norm": "BATCH"})
    own = coded(SAME, **changes, **{"network.args": plain.network.args})
    given = cohort(plain)
    one, other = models(plain, given), models(own, given)
    assert one.personal_names == other.personal_names
    assert one.layout == other.layout
    expected, found = rows_and_update(plain, given, one), rows_and_update(own, given, other)
    assert np.array_equal(found[2], expected[2])
    assert np.array_equal(found[3], expected[3])
    assert all(np.array_equal(value, one.personal()[name]) for name, value in other.personal().items())


@pytest.fixture
def without_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("privacy.step.discrete_gaussian", lambda n, *_: np.zeros(n, dtype=np.int64))


def private_sum(plan: Plan, cohort: Cohort, model: SiloModel) -> np.ndarray:
    """The integers of one step `without_noise`: every patient's clipped gradient, on its grid."""
    assert isinstance(plan.privacy, PatientPrivacy)
    trainer = PrivateTrainer(plan, plan.privacy, guarantee_of(plan), cohort, model)
    return trainer.summed(model.shared(), 1.0, SecureBits())


@pytest.mark.parametrize(("network", "loss"), [("Net", None), (None, "loss"), ("Net", "loss")], ids=["network", "loss", "both"])
@pytest.mark.usefixtures("without_noise")
def test_with_privacy_the_clipped_sum_and_the_scores_are_the_declarative_plan_s_bit_for_bit(
    network: str | None, loss: str | None, cohort: Any, models: Any
) -> None:
    changes = {**ALL_DRAWN, "data.augmentation": []}
    plain, own = tiny_plan(**changes), coded(SAME, network, loss, **changes)
    given = cohort(plain)
    one, other = models(plain, given), models(own, given)
    assert np.array_equal(private_sum(own, given, other), private_sum(plain, given, one))
    assert np.allclose(patient_by_patient(other, given, "test", 4, 16), log_probabilities(one, given, "test"), atol=1e-6)


def test_a_network_of_the_plan_s_own_computes_on_the_cpu_and_a_loss_wherever_the_network_does() -> None:
    assert pick_device("auto", coded(SAME)) == CPU
    with pytest.raises(CodeError, match="CPU only, not on cuda"):
        pick_device("cuda", coded(SAME))
    assert pick_device("cuda", coded(SAME, None, "loss")) == torch.device("cuda")
    assert pick_device("cuda", tiny_plan()) == torch.device("cuda")


def test_turns_follow_what_a_blank_patient_takes_now(cohort: Any, models: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = coded(SAME, **ALL_DRAWN)
    given = cohort(plan)
    model = models(plan, given)
    forks = model._built.network._fedward_forks
    monkeypatch.undo()
    model.retime()
    usual = forks.turn
    assert usual >= 0.1  # the floor
    call = forks.ask
    monkeypatch.setattr(forks, "ask", lambda *asked: (time.sleep(1.0), call(*asked))[1])
    model.retime()
    assert forks.turn > usual
    assert forks.turn >= 6.0  # thrice two calls


def test_processes_that_were_killed_fail_the_round_they_were_in_and_the_same_round_begins_with_new_ones(
    cohort: Any, models: Any
) -> None:
    plan = coded(SAME)
    given = cohort(plan)
    model = models(plan, given)
    trainer = Trainer(plan, given, model, "site")
    model.reset()
    expected, update = trainer.round(1, time.monotonic() + 300), model.shared()
    nursery = model._built.network._fedward_forks._sandbox._nursery
    nursery._process.kill()
    nursery._process.wait()
    with pytest.raises(CodeError):
        trainer.round(2, time.monotonic() + 300)
    model.reset()
    assert trainer.round(1, time.monotonic() + 300) == expected
    assert np.array_equal(model.shared(), update)
