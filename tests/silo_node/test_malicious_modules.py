"""Modules that mean harm under differential privacy: what they do to one patient stays with that patient."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from privacy.clipping import SCALE
from privacy.coded.forks import Forks
from privacy.coded.nurseries import borrow, give_back
from privacy.guarantee import guarantee_of
from privacy.randomness import Integers, SecureBits
from protocol.errors import CodeError, NetworkError, PrivacyError
from protocol.plan import Plan
from protocol.plan.privacy import PatientPrivacy
from silo_node.job import Place, open_job
from silo_node.scoring import patient_by_patient
from silo_node.training.cohort import Cohort, load_cohort
from silo_node.training.model import SiloModel
from silo_node.training.private import PrivateTrainer
from silo_node.training.room import refuse_without_room
from tests.conftest import PRIVATE, tiny_node, tiny_store
from tests.privacy.coded.modules import ALLOWS_CODE, SAME, coded

ALL_DRAWN = {
    **PRIVATE,
    "privacy": {**PRIVATE["privacy"], "sampling": "full"},
    "network.args.dropout": 0.0,
    "data.augmentation": [],
    "data.preprocessing": [{"name": "Resize", "args": {"spatial_size": [16, 16]}}],
}
MARK = 9.0
"""Value of the first pixel of every image of one patient."""

HOARDER = """
import gc, os, sys, threading, torch
from monai.networks.nets import Classifier

KEPT = []

class Net(Classifier):
    def forward(self, images):
        kept = KEPT + getattr(torch, "_kept", []) + list(os.environ.get("KEPT", ""))
        KEPT.append(images.detach().clone())
        torch._kept = [images.detach().clone()]
        os.environ["KEPT"] = "x"
        output = super().forward(images)
        return output * (1.0 + 5.0 * len(kept)) + sum(one.mean() for one in kept if not isinstance(one, str))
"""

ON_THE_MARKED = """
import os, sys, time, torch
from monai.networks.nets import Classifier

class Net(Classifier):
    def forward(self, images):
        if images[:, 0, 0, 0].max() > 8.0:
            return self.harm(images)
        return super().forward(images)

    def harm(self, images):
        {harm}
"""
HARMS = {
    "raises": "raise ValueError(str(images))",
    "leaves": "os._exit(0)",
    "exits": "sys.exit(1)",
    "is not a number": "return super().forward(images) * float('nan')",
    "is infinite": "return super().forward(images) * float('inf')",
    "has another shape": "return torch.zeros(7, 3, requires_grad=True)",
    "does not learn": "return torch.zeros(len(images), 2)",
    "answers by itself": "os.write(3, b'0' * 100); os.write(4, b'0' * 100); os.write(5, b'0' * 100); os._exit(0)",
    "eats memory": "return torch.ones(1 << 40)",
    "recurses": "return self.forward(images)",
}

LIAR = """
import numpy as np
import privacy.coded.tasks as tasks
from monai.networks.nets import Classifier

class Net(Classifier):
    pass

tasks.TASKS["backward"] = lambda state, values, arrays: ({{}}, {{"gradient": np.full({size}, {value}, dtype=np.{dtype})}})
"""


@pytest.fixture(autouse=True, scope="module")
def _one_nursery() -> Iterator[None]:
    borrow(tell=False)
    yield
    give_back(tell=False)


@pytest.fixture(autouse=True)
def turn(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds of a turn; 0: as long as it takes. And no noise: what is looked at is the sum under it."""
    seconds = [0.0]
    monkeypatch.setattr("privacy.coded.build._turn", lambda *_: seconds[0])
    monkeypatch.setattr("privacy.step.discrete_gaussian", lambda n, *_: np.zeros(n, dtype=np.int64))
    return seconds


class Hospital:
    """A cohort of which the patient `marked` has the mark, and a trainer of one plan on it."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        store = tiny_store(folder / "store", n=16)
        cohort = load_cohort(store, plan, folder / "cache")
        images = np.array(cohort.images)
        self.marked = int(cohort.patients[cohort.parts.train[0]])
        images[cohort.patients == self.marked, 0, 0, 0] = MARK
        self.cohort: Cohort = replace(cohort, images=images)
        self.model = SiloModel(plan, cohort.input_shape, torch.device("cpu"))
        assert isinstance(plan.privacy, PatientPrivacy)
        self.clip_norm = plan.privacy.clip_norm
        self.trainer = PrivateTrainer(plan, plan.privacy, guarantee_of(plan), self.cohort, self.model)
        self.everybody = list(self.trainer._patients)
        self.others = [one for one in self.everybody if self.cohort.patients[one[0]] != self.marked]

    def sum(self, patients: list[np.ndarray] | None = None) -> Integers:
        """Of the clipped gradients of these, or of all."""
        self.trainer._patients = self.everybody if patients is None else patients
        return self.trainer.summed(self.model.shared(), 1.0, SecureBits())


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[Callable[..., Hospital]]:
    made: list[Hospital] = []

    def open_one(source: str, **changes: object) -> Hospital:
        made.append(Hospital(coded(source, **{**ALL_DRAWN, **changes}), tmp_path / str(len(made))))
        return made[-1]

    yield open_one
    for one in made:
        one.model._built.close()


def test_what_a_module_keeps_of_one_patient_changes_no_other_patient_s_gradient_or_score(
    hospital: Callable[..., Hospital],
) -> None:
    here = hospital(HOARDER)
    alone = sum((here.sum([patient]) for patient in here.everybody), np.zeros(here.model.layout.size, dtype=np.int64))
    assert np.array_equal(here.sum(), alone)
    assert len(here.everybody) >= 3
    first, again = (patient_by_patient(here.model, here.cohort, "train", 4, 16) for _ in range(2))
    assert np.array_equal(first, again)


def test_in_one_process_for_all_the_same_module_would_have_mixed_them(hospital: Callable[..., Hospital]) -> None:
    """The test above can fail."""
    here = hospital(HOARDER)
    alone = sum((here.sum([patient]) for patient in here.everybody), np.zeros(here.model.layout.size, dtype=np.int64))
    here.model._built.network._fedward_forks.one_patient = False  # type: ignore[union-attr]
    assert not np.array_equal(here.sum(), alone)


@pytest.mark.parametrize("harm", HARMS)
def test_a_patient_on_whom_the_module_fails_adds_nothing_and_nothing_else_changes(
    harm: str, hospital: Callable[..., Hospital]
) -> None:
    here = hospital(ON_THE_MARKED.format(harm=HARMS[harm]))
    everybody = here.sum()
    assert np.array_equal(everybody, here.sum(here.others))
    assert np.abs(everybody).max() > 0
    rows = patient_by_patient(here.model, here.cohort, "train", 4, 16)
    marked = here.cohort.patients[list(here.cohort.parts.train)] == here.marked
    assert np.isnan(rows[~marked]).sum() == 0
    if harm != "does not learn":  # as a score it is as good as any
        assert np.isnan(rows[marked]).all()


def test_a_module_that_sleeps_on_one_patient_makes_the_round_no_longer(
    hospital: Callable[..., Hospital], turn: list[float]
) -> None:
    turn[0] = 2.0
    slow = hospital(ON_THE_MARKED.format(harm="time.sleep(1000)"), **{"code.turns_per_step": 4})
    seconds = []
    for patients in (slow.everybody[:3], slow.others[:3]):
        start = time.monotonic()
        found = slow.sum(patients)
        seconds.append(time.monotonic() - start)
    assert [len(slow.everybody[:3]), len(slow.others[:3])] == [3, 3]
    assert np.abs(found).max() > 0
    assert seconds[0] == pytest.approx(seconds[1], abs=0.5)
    assert seconds[0] == pytest.approx(8.0, abs=0.5)


def test_a_step_holds_as_many_turns_as_the_plan_says_whoever_is_drawn_and_every_one_is_a_process(
    hospital: Callable[..., Hospital], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So neither the clock nor the numbers of processes tell a module, or who waits for the round, of anybody else."""
    here = hospital(SAME)
    begun: list[None] = []
    begin = Forks._begin
    monkeypatch.setattr(Forks, "_begin", lambda forks: (begun.append(None), begin(forks))[1])
    sums = []
    for patients in (here.everybody, here.others, here.everybody[:1], []):
        begun.clear()
        sums.append(here.sum(patients))
        assert len(begun) == 16
    assert not np.array_equal(sums[0], sums[1])
    assert np.abs(sums[3]).max() == 0  # blank images add nothing
    begun.clear()
    rows = patient_by_patient(here.model, here.cohort, "train", 4, 16)
    assert len(begun) == 16
    assert np.isfinite(rows).all()


def test_a_hospital_with_more_patients_than_turns_refuses_the_plan_before_any_training(tmp_path: Path) -> None:
    for key in ("turns_per_step", "turns_per_score"):
        plan = coded(SAME, **{**ALL_DRAWN, f"code.{key}": 1})
        store = tiny_store(tmp_path / key / "store", n=16)
        node = tiny_node("north", store, tmp_path / key / "state", ALLOWS_CODE)
        place = Place("north", store, tmp_path / key / "job", "cpu", node._identity, ())
        with pytest.raises(PrivacyError, match=f"code.{key}"):
            open_job("job", plan, place, node._gate)


def test_what_a_plan_leaves_of_the_patients_does_not_decide_whether_it_is_refused(tmp_path: Path) -> None:
    """Else it could leave just as many as it has turns, and be told of one more."""
    samples = tiny_store(tmp_path / "store", n=24).samples
    told = set()
    for turns in (4, 24):
        for seed in range(12):
            plan = coded(SAME, **{**ALL_DRAWN, "seed": seed, "code.turns_per_step": 24, "code.turns_per_score": turns})
            assert plan.code is not None
            assert isinstance(plan.privacy, PatientPrivacy)
            try:
                refuse_without_room(plan, plan.code, plan.privacy, guarantee_of(plan), samples)
            except PrivacyError:
                told.add(turns)
            else:
                told.add(-turns)
    assert told == {4, -24}


@pytest.mark.parametrize(
    ("size", "value", "dtype", "norm"),
    [
        (603, 1e30, "float32", 1.0),
        (603, "float('inf')", "float32", 0.0),
        (603, 1.0, "float64", 0.0),
        (604, 1.0, "float32", 0.0),
        ((603, 1), 1.0, "float32", 0.0),
        (0, 1.0, "float32", 0.0),
    ],
)
def test_whatever_a_module_calls_a_gradient_one_patient_weighs_no_more_than_the_clip_norm(
    size: object, value: object, dtype: str, norm: float, hospital: Callable[..., Hospital]
) -> None:
    here = hospital(LIAR.format(size=size, value=value, dtype=dtype))
    found = here.sum(here.everybody[:1]).astype(np.float64) / SCALE  # in clip norms
    assert np.linalg.norm(found) <= 1.0
    assert np.linalg.norm(found) == pytest.approx(norm, rel=1e-2)


def test_under_privacy_statistics_are_refused_and_a_hospital_does_not_repeat_the_module(tmp_path: Path) -> None:
    """A process per patient keeps no statistics, so a network with them would never learn its own."""
    plan = coded(SAME, **{**ALL_DRAWN, "network.args.norm": "BATCH"})
    with pytest.raises(CodeError, match="fedward plan check") as refused:
        Hospital(plan, tmp_path)
    assert "BatchNorm" not in str(refused.value)


def test_a_tensor_that_no_clipped_gradient_made_does_not_travel_even_if_its_network_hides_it(tmp_path: Path) -> None:
    source = SAME.replace(
        "    pass",
        "    def __init__(self, **args):\n"
        "        super().__init__(**args)\n"
        "        self.register_buffer('seen', __import__('torch').zeros(3))\n",
    )
    with pytest.raises(NetworkError, match="'seen' would leave the hospital without noise"):
        Hospital(coded(source, **ALL_DRAWN), tmp_path)


def test_nothing_is_asked_of_a_module_outside_of_a_patient_s_turn(hospital: Callable[..., Hospital]) -> None:
    here = hospital(SAME)
    with pytest.raises(CodeError, match="outside of any patient's turn"):
        here.model.network(torch.zeros(1, 1, 16, 16))


def test_a_module_that_would_keep_the_hospital_from_its_other_jobs_is_refused_before_any_patient(
    hospital: Callable[..., Hospital], turn: list[float]
) -> None:
    turn[0] = 3.0
    hospital(SAME)
    turn[0] = 4.5
    with pytest.raises(NetworkError, match=r"48 turns of at least 1\.5 s .* federation\.round_deadline_s, 60 s"):
        hospital(SAME)
