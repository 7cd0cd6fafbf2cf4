"""What the node answers, and what it refuses, over the very bytes that would travel."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from protocol.errors import GateError
from protocol.messages import (
    Address,
    Describe,
    Description,
    Done,
    Personalise,
    Refusal,
    Release,
    Request,
    Score,
    Scores,
    Train,
    TrainAlone,
    Update,
    decode_release,
    encode,
)
from protocol.network import build_network, tensors_of
from protocol.parts import shared_layout
from protocol.plan import Plan
from protocol.vectors import Layout, from_wire, to_wire
from silo_node.cohort import StoreWriter
from silo_node.node import SiloNode
from silo_node.release_checks import Passage
from silo_node.state import JobState
from tests.conftest import MakePlan, MakeStore, tiny_node

OVERFLOW = {"name": "ScaleIntensityRange", "args": {"a_min": 0.0, "a_max": 1.0, "b_min": 0.0, "b_max": 1e39}}


class Desk:
    """A node and the other end of its wire."""

    def __init__(self, plan: Plan, make_store: MakeStore, **store: object) -> None:
        self.plan, self.store = plan, make_store(**store)
        self.node = self.fresh()
        network = build_network(plan)
        self.layout = shared_layout(network, frozenset())
        self.vector = self.layout.flatten(tensors_of(network))

    def fresh(self) -> SiloNode:
        return tiny_node("site", self.store, self.store.path.parent / "state")

    def release(self, message: object, address: Address) -> bytes:
        passage = Passage(address.job, self.plan, None, self.layout)
        return self.node._gate.release(message, address, passage)  # type: ignore[arg-type]

    def address(self, number: int = 0, **changes: object) -> Address:
        return msgspec.structs.replace(Address("job-1", self.plan.digest, number, 0), **changes)

    def ask(self, request: Request) -> Release:
        return decode_release(self.node(encode(request)))

    def describe(self) -> Release:
        return self.ask(Describe(self.address(), self.plan.canonical))

    def train(self, number: int = 1, **changes: object) -> Release:
        return self.ask(Train(self.address(number, **changes), 60.0, to_wire(self.vector)))


@pytest.fixture
def desk(make_plan: MakePlan, make_store: MakeStore) -> Desk:
    return Desk(make_plan(), make_store)


def test_a_described_job_trains_and_scores(desk: Desk) -> None:
    description = desk.describe()
    assert isinstance(description, Description)
    assert description.n_train + description.n_validation + description.n_test == 40
    assert description.layout_digest == desk.layout.digest
    update = desk.train()
    assert isinstance(update, Update)
    assert update.n_train == description.n_train
    assert np.abs(from_wire(update.delta)).max() > 0
    scores = desk.ask(Score(desk.address(1), "federated", "test", to_wire(desk.vector)))
    assert isinstance(scores, Scores)
    assert scores.n == description.n_test


def test_a_maker_is_named_only_if_many_patients_share_it(make_plan: MakePlan, tmp_path: Path) -> None:
    writer = StoreWriter.create(tmp_path / "store")
    image = np.random.default_rng(0).random((1, 16, 16), dtype=np.float32)
    for number in range(12):
        maker = "Common Ltd" if number < 10 else "Made for Mrs Smith"
        writer.add(image * number / 12, patient=str(number), labels={"finding": str(number % 2)}, manufacturer=maker)
    store = writer.finish()
    desk = Desk(make_plan(), lambda **_: store)
    description = desk.describe()
    assert isinstance(description, Description)
    assert description.manufacturers == ("Common Ltd",)


def test_the_same_round_asked_twice_gives_the_same_update_also_after_a_restart(desk: Desk) -> None:
    desk.describe()
    first = desk.train()
    again = desk.train()
    desk.node = desk.fresh()
    restarted = desk.train()
    assert isinstance(first, Update)
    assert isinstance(again, Update)
    assert isinstance(restarted, Update)
    assert bytes(first.delta) == bytes(again.delta) == bytes(restarted.delta)


def test_personal_parts_persist_between_rounds_and_a_repeated_round_starts_from_the_same(
    make_plan: MakePlan, make_store: MakeStore
) -> None:
    desk = Desk(make_plan(**{"federation.personal": ["head"]}), make_store)
    description = desk.describe()
    assert isinstance(description, Description)
    network = build_network(desk.plan)
    shared = Layout(tuple(e for e in desk.layout.entries if not e[0].startswith("final")))
    desk.vector = shared.flatten(tensors_of(network))
    assert description.layout_digest == shared.digest
    first = desk.train(1)
    second = desk.train(2)
    assert isinstance(first, Update)
    assert isinstance(second, Update)
    assert bytes(first.delta) != bytes(second.delta)
    desk.node = desk.fresh()
    repeated = desk.train(2)
    assert isinstance(repeated, Update)
    assert bytes(repeated.delta) == bytes(second.delta)


def test_alone_and_personalised_models_stay_in_the_hospital(make_plan: MakePlan, make_store: MakeStore) -> None:
    desk = Desk(make_plan(**{"evaluation.personalise": "fine_tune"}), make_store)
    desk.describe()
    last = desk.plan.federation.rounds
    done = [desk.node(encode(TrainAlone(desk.address(last), 60.0)))]
    done.append(desk.node(encode(Personalise(desk.address(last), 60.0, to_wire(desk.vector)))))
    assert all(isinstance(decode_release(reply), Done) and len(reply) < 300 for reply in done)
    kinds = {kind: desk.ask(Score(desk.address(last), kind, "test")) for kind in ("alone", "personalised")}
    assert all(isinstance(scores, Scores) for scores in kinds.values())
    assert kinds["alone"].loss != kinds["personalised"].loss  # type: ignore[union-attr]


def test_scores_say_how_they_move_with_the_model_alone_if_asked(make_plan: MakePlan, make_store: MakeStore) -> None:
    desk = Desk(make_plan(**{"evaluation.personalise": "fine_tune"}), make_store, n=80)
    desk.describe()
    address = desk.address(desk.plan.federation.rounds)
    desk.ask(TrainAlone(address, 60.0))
    desk.ask(Personalise(address, 60.0, to_wire(desk.vector)))

    def ask(kind: str, with_alone: bool) -> Scores:
        vector = to_wire(desk.vector) if kind == "federated" else None
        scores = desk.ask(Score(address, kind, "test", vector, with_alone))
        assert isinstance(scores, Scores)
        return scores

    own = ask("alone", True)
    assert own.classes[0].covariance_with_alone is None
    for kind in ("federated", "personalised"):
        unasked, (one,) = ask(kind, False), ask(kind, True).classes
        assert one.covariance_with_alone is not None
        assert one.auroc_variance is not None
        assert own.classes[0].auroc_variance is not None
        assert abs(one.covariance_with_alone) <= np.sqrt(one.auroc_variance * own.classes[0].auroc_variance)
        assert unasked.classes == (msgspec.structs.replace(one, covariance_with_alone=None),)


def test_paired_with_itself_a_model_has_its_own_variance(make_plan: MakePlan, make_store: MakeStore) -> None:
    """The personalised model of zero further steps from the model alone IS the model alone."""
    desk = Desk(make_plan(), make_store, n=80)
    desk.describe()
    address = desk.address(desk.plan.federation.rounds)
    desk.ask(TrainAlone(address, 60.0))
    folder = desk.store.path.parent / "state" / "jobs" / address.job
    (folder / "personalised.safetensors").write_bytes((folder / "alone.safetensors").read_bytes())
    scores = desk.ask(Score(address, "personalised", "test", None, True))
    assert isinstance(scores, Scores)
    assert scores.classes[0].covariance_with_alone == scores.classes[0].auroc_variance


def test_without_a_model_alone_the_scores_come_unpaired(desk: Desk) -> None:
    desk.describe()
    scores = desk.ask(Score(desk.address(1), "federated", "test", to_wire(desk.vector), True))
    assert isinstance(scores, Scores)
    assert scores.classes[0].covariance_with_alone is None


@pytest.mark.parametrize("field", ["auroc", "auroc_variance", "covariance_with_alone"])
def test_the_gate_lets_no_score_pass_that_is_not_finite(desk: Desk, field: str) -> None:
    desk.describe()
    scores = desk.ask(Score(desk.address(1), "federated", "test", to_wire(desk.vector)))
    assert isinstance(scores, Scores)
    assert desk.release(scores, scores.address) == encode(scores)
    (one,) = scores.classes
    bad = msgspec.structs.replace(scores, classes=(msgspec.structs.replace(one, **{field: float("nan")}),))
    with pytest.raises(GateError, match="nothing left"):
        desk.release(bad, scores.address)


def test_a_mixed_model_is_the_average_of_both_and_needs_both(make_plan: MakePlan, make_store: MakeStore) -> None:
    desk = Desk(make_plan(**{"evaluation.personalise": "mix"}), make_store)
    desk.describe()
    last = desk.plan.federation.rounds
    request = Score(desk.address(last), "personalised", "test", to_wire(desk.vector))
    without = desk.ask(request)
    assert isinstance(without, Refusal)
    assert "own model" in without.reason
    desk.ask(TrainAlone(desk.address(last), 60.0))
    asked = [
        request,
        Score(desk.address(last), "federated", "test", to_wire(desk.vector)),
        Score(desk.address(last), "alone", "test"),
    ]
    mixed, federated, alone = (desk.ask(one) for one in asked)
    assert isinstance(mixed, Scores)
    assert isinstance(federated, Scores)
    assert isinstance(alone, Scores)
    assert len({mixed.loss, federated.loss, alone.loss}) == 3
    # Cross-entropy is convex in the log-probabilities, so the average is never worse than the mean of the two.
    assert mixed.loss <= (federated.loss + alone.loss) / 2 + 1e-9


def test_a_plan_is_kept_to_the_letter_also_with_letters_that_yaml_does_not_know(make_plan: MakePlan, tmp_path: Path) -> None:
    for name in ("a\x7fb", "a\x85b\u2028", "1e-7", "no", "\U0001f600"):
        plan = make_plan(**{"task.class_names": [name, "other"]})
        state = JobState(tmp_path, f"job-{plan.digest[7:20]}")
        state.keep_plan(plan)
        known = state.plan()
        assert known is not None
        assert known.digest == plan.digest


def test_what_does_not_fit_is_refused_with_a_reason(desk: Desk) -> None:
    def refusal(answer: Release, error: str, says: str) -> None:
        assert isinstance(answer, Refusal)
        assert answer.error == error
        assert says in answer.reason

    refusal(desk.train(), "SiloError", "never described")
    desk.describe()
    refusal(desk.train(plan_digest="sha256:00"), "SiloError", "another plan")
    refusal(desk.train(job="../../etc"), "SiloError", "refused")
    refusal(desk.ask(Describe(desk.address(plan_digest="sha256:00"), desk.plan.canonical)), "SiloError", "digest")
    refusal(desk.ask(Describe(desk.address(), b"\xff")), "PlanError", "JSON")
    refusal(desk.ask(Describe(desk.address(), b"a: 1")), "PlanError", "JSON")
    refusal(desk.ask(Describe(desk.address(), b"{}")), "PlanError", "missing")
    refusal(desk.ask(Train(desk.address(1), 60.0, memoryview(b"\0" * 8))), "MessageError", "does not fit")
    long = desk.node(encode(Describe(desk.address(job="x" * 10**6), desk.plan.canonical)))
    assert len(long) < 1000
    refusal(decode_release(long), "MessageError", "length")
    for number in (0, desk.plan.federation.rounds + 1, 10**9):
        refusal(desk.train(number), "SiloError", "is not among them")
    refusal(desk.ask(Score(desk.address(1), "federated", "train", to_wire(desk.vector))), "SiloError", "that trained")
    refusal(desk.ask(Train(desk.address(1), 0.0, to_wire(desk.vector))), "DeadlineError", "deadline")
    refusal(desk.ask(Score(desk.address(1), "alone", "test")), "SiloError", "no model of kind")
    refusal(desk.ask(Score(desk.address(1), "federated", "everyone", to_wire(desk.vector))), "CohortError", "no part")
    refusal(decode_release(desk.node(b"junk")), "MessageError", "not a request")


def test_a_diverging_training_is_refused_not_sent(make_plan: MakePlan, make_store: MakeStore) -> None:
    desk = Desk(make_plan(**{"training.optimizer": {"name": "SGD", "lr": 100.0}, "training.local_steps": 200}), make_store)
    desk.describe()
    desk.vector = np.full_like(desk.vector, 1e30)
    answer = desk.train()
    assert isinstance(answer, Refusal)
    assert answer.error in ("TrainingError", "GateError")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"task.target": "tumour"}, "no sample has a label 'tumour'"),
        ({"task.classes": ["1", "2"]}, "1 values that are no class"),
        ({"data.preprocessing": [OVERFLOW]}, "not finite"),
        ({"data.preprocessing": [{"name": "Resize", "args": {"size": [4, 4]}}]}, "data.preprocessing[0]"),
        ({"data.channels": 3}, "cannot take"),
        ({"data.split.test_fraction": 0.9, "data.split.validation_fraction": 0.9}, "train on"),
    ],
)
def test_a_cohort_that_does_not_fit_the_plan_says_why(
    make_plan: MakePlan, make_store: MakeStore, change: dict[str, object], says: str
) -> None:
    answer = Desk(make_plan(**change), make_store, n=6).describe()
    assert isinstance(answer, Refusal), answer
    assert says in answer.reason


def test_the_gate_lets_nothing_unknown_unasked_or_not_finite_pass(desk: Desk) -> None:
    desk.describe()
    update = desk.train()
    assert isinstance(update, Update)
    assert desk.release(update, update.address) == encode(update)
    bad = [
        msgspec.structs.replace(update, delta=to_wire(np.full(desk.layout.size, np.nan, dtype=np.float32))),
        msgspec.structs.replace(update, delta=update.delta[:-4]),
        msgspec.structs.replace(update, loss=float("inf")),
        msgspec.structs.replace(update, address=desk.address(2)),
        Train(update.address, 1.0, update.delta),
        {"patients": ["x"]},
    ]
    for message in bad:
        with pytest.raises(GateError, match="nothing left"):
            desk.release(message, update.address)


def test_an_unexpected_error_leaves_only_its_kind(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def explode(*_: object) -> None:
        raise KeyError("PatientID 4711 in scan.dcm")

    monkeypatch.setattr("silo_node.node.describe", explode)
    answer = desk.describe()
    assert isinstance(answer, Refusal)
    assert "4711" not in answer.reason + caplog.text
    assert answer.error == "KeyError"
