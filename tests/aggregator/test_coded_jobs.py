"""Whole jobs of plans with a module of their own: in clear, in masked sums, under privacy; served; refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from aggregator.job import Job
from aggregator.results import write_results
from privacy.coded.nurseries import borrow, give_back
from privacy.ledger import Ledger
from protocol.errors import BudgetError, CodeError
from protocol.messages import Address, Describe, Refusal, Train, Update, decode_release, encode
from protocol.network import n_parameters
from protocol.plan import Plan
from protocol.secure_aggregation import Member
from protocol.transport.in_process import InProcessTransport
from protocol.vectors import from_wire, to_wire
from silo_node.policy import Policy
from tests.aggregator.test_distributed_privacy import DISTRIBUTED
from tests.conftest import GENEROUS, PRIVATE, tiny_node, tiny_plan, tiny_store
from tests.privacy.coded.modules import ALLOWS_CODE, SAME, WRITTEN_OUT, coded

FEW = {"federation.rounds": 2, "training.local_steps": 2}


@pytest.fixture(autouse=True)
def _short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("privacy.coded.build._turn", lambda *_: 0.0)


@pytest.fixture(autouse=True, scope="module")
def _one_nursery_for_each_side() -> Iterator[None]:
    for tell in (True, False):
        borrow(tell=tell)
    yield
    for tell in (True, False):
        give_back(tell=tell)


def make(plan: Plan, folder: Path, n: int = 2, policy: Policy = ALLOWS_CODE) -> Job:
    nodes = {
        f"s{i}": tiny_node(f"s{i}", tiny_store(folder / f"s{i}", n=24, seed=i), folder / f"state{i}", policy) for i in range(n)
    }
    members = [Member(name, node.public_key) for name, node in nodes.items()]
    for node in nodes.values():
        node.pin(members)
    return Job(plan, InProcessTransport(nodes), folder / "job", lambda _: None, {}, members)


def scores_of(job: Job) -> list[Any]:
    """Everything that hospitals said of any model, but for the name of the plan."""
    return [
        (one.kind, one.split, one.round, {silo: structs.replace(said, address=None) for silo, said in one.scores.items()})
        for one in job.scores()
    ]


def test_a_job_with_a_module_ends_with_the_declarative_job_s_model_and_scores_bit_for_bit(tmp_path: Path) -> None:
    """Baselines, validations and the test included: everything that a hospital calculates goes through its process."""
    evaluation = {"alone": True, "personalise": "fine_tune", "recalibrate": "platt"}
    ends = []
    for name, plan in (
        ("plain", tiny_plan(**FEW, evaluation=evaluation)),
        ("own", coded(SAME, "Net", "loss", **FEW, evaluation=evaluation)),
    ):
        job = make(plan, tmp_path / name)
        with closing(job.journal):
            job.run()
            ends.append((job.models.final(), scores_of(job)))
            assert job.models.n_parameters == 603
    plain, own = ends
    assert np.array_equal(plain[0], own[0])
    assert plain[1] == own[1]
    assert {kind for kind, *_ in plain[1]} == {"alone", "federated", "personalised", "recalibrated"}


@pytest.mark.slow
@pytest.mark.parametrize("changes", [PRIVATE, DISTRIBUTED], ids=["local", "distributed"])
def test_a_private_job_in_masked_sums_ends_and_pays_as_any_other(changes: dict[str, Any], tmp_path: Path) -> None:
    privacy = {**changes["privacy"], "secure_aggregation": True}
    changes = {**changes, "privacy": privacy, "network.args": {"width": 4}, "federation.rounds": 1}
    plan = coded(WRITTEN_OUT, "Net", "loss", **changes)
    job = make(plan, tmp_path, n=3)
    with closing(job.journal):
        job.run()
        model, scored = job.models.final(), job.scores()
        assert job.rounds()[0].failures == {}
        assert np.isfinite(model).all()
        assert not np.array_equal(model, job.models.initial)
    assert scored
    entries = Ledger.open(tmp_path / "state0" / "ledger.jsonl").entries
    assert [entry.release for entry in entries if entry.part == "train"] in (["round/1"], ["round/1/0"])


def test_a_module_that_counts_its_calls_trains_the_same_after_a_restart(tmp_path: Path) -> None:
    """A round is a function of the model it begins with: what the module kept since the last one is gone either way."""
    counting = SAME.replace(
        "    pass",
        "    calls = 0\n    def forward(self, images):\n        Net.calls += 1\n"
        "        return super().forward(images) * (1 + Net.calls)\n",
    )
    plan = coded(counting, **FEW)
    vectors = []
    for restart in (False, True):
        folder = tmp_path / str(restart)
        job = make(plan, folder)
        with closing(job.journal):
            start = job.models.initial
        store = tiny_store(folder / "again", n=24)
        node = tiny_node("site", store, folder / "again-state", ALLOWS_CODE)
        address = Address("job-1", plan.digest, 0, 0)
        node(encode(Describe(address, plan.canonical)))
        for number in (1, 2):
            if restart:
                node = tiny_node("site", store, folder / "again-state", ALLOWS_CODE)
            answer = decode_release(node(encode(Train(Address("job-1", plan.digest, number, 0), 300.0, to_wire(start)))))
            assert isinstance(answer, Update), answer
        vectors.append(from_wire(answer.delta))
    assert np.array_equal(*vectors)


def one_update(source: str, folder: Path, **changes: Any) -> Update | Refusal:
    """What the gate lets out of one round of a plan without privacy."""
    plan = coded(source, **{**FEW, **changes})
    node = tiny_node("site", tiny_store(folder / "store", n=24), folder / "state", ALLOWS_CODE)
    node(encode(Describe(Address("job-1", plan.digest, 0, 0), plan.canonical)))
    vector = np.zeros(603, dtype=np.float32)
    answer = decode_release(node(encode(Train(Address("job-1", plan.digest, 1, 0), 300.0, to_wire(vector)))))
    assert isinstance(answer, Update | Refusal)
    return answer


LIES = """
import numpy as np
import privacy.coded.tasks as tasks
from monai.networks.nets import Classifier

class Net(Classifier):
    pass

tasks.TASKS["backward"] = lambda state, values, arrays: ({{}}, {{"gradient": np.{array}}})
"""


def test_garbage_without_privacy_is_one_finite_vector_of_the_model_s_size(tmp_path: Path) -> None:
    garbage = one_update(LIES.format(array="arange(603, dtype=np.float32)"), tmp_path)
    assert isinstance(garbage, Update)
    assert from_wire(garbage.delta).shape == (603,)
    assert np.isfinite(from_wire(garbage.delta)).all()


@pytest.mark.parametrize(
    ("array", "error"),
    [
        ("full(603, np.nan, dtype=np.float32)", "TrainingError"),
        ("zeros(10_000, dtype=np.float32)", "CodeError"),
        ("zeros((603, 1), dtype=np.float32)", "CodeError"),
        ("zeros(603, dtype=np.int64)", "CodeError"),
    ],
)
def test_what_is_no_finite_vector_of_that_size_does_not_leave(array: str, error: str, tmp_path: Path) -> None:
    refused = one_update(LIES.format(array=array), tmp_path)
    assert isinstance(refused, Refusal)
    assert refused.error == error


def test_a_hospital_that_refuses_modules_starts_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = make(coded(SAME, **FEW), tmp_path, policy=GENEROUS)
    monkeypatch.setattr("privacy.coded.nurseries.Sandbox", lambda *_, **__: pytest.fail("a process was begun"))
    with closing(job.journal), pytest.raises(BudgetError, match="custom_code"):
        job.run()


def test_a_machine_that_cannot_keep_a_module_apart_says_so_at_the_aggregator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("privacy.sandbox.parent.available", lambda: "this kernel has no Landlock.")
    give_back(tell=True)
    try:
        with pytest.raises(CodeError, match="no Landlock"):
            make(coded(SAME, **FEW), tmp_path)
    finally:
        monkeypatch.undo()
        borrow(tell=True)


@pytest.mark.filterwarnings("ignore::UserWarning")  # MLflow's, about type hints
def test_the_served_model_calculates_in_a_process_of_its_own_what_the_network_would(tmp_path: Path) -> None:
    import torch

    from aggregator.tracking.served_model import FederatedClassifier
    from protocol.network import build_network, logits

    plan = coded(SAME, **FEW, evaluation={"alone": False})
    job = make(plan, tmp_path)
    with closing(job.journal):
        job.run()
        written = write_results(job, tmp_path / "job")
        vector = job.models.final()
        tensors = {name: torch.from_numpy(np.array(value)) for name, value in job.models.tensors(vector).items()}
    assert written.report["model"]["n_parameters"] == 603

    context = SimpleNamespace(artifacts={"plan": str(written.plan), "weights": str(written.model)})
    served = FederatedClassifier()
    served.load_context(context)
    images = np.random.default_rng(1).random((5, 1, 16, 16), dtype=np.float32)
    network = build_network(tiny_plan())
    network.load_state_dict(tensors)
    with torch.no_grad():
        expected = logits(network.eval(), torch.from_numpy(images)).softmax(dim=1).numpy()
    assert n_parameters(network) == 603
    assert np.allclose(served.predict(context, images), expected, atol=1e-6)
