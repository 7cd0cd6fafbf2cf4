"""A silo under a private plan, over the very bytes that would travel: what leaves, what it costs, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from privacy.ledger import Ledger
from protocol.errors import CohortError, GateError, SiloError
from protocol.messages import (
    Address,
    Describe,
    Personalise,
    PrivateDescription,
    PrivateScores,
    PrivateUpdate,
    Receipt,
    Refusal,
    Release,
    Request,
    Score,
    Train,
    TrainAlone,
    Update,
    decode_release,
    encode,
)
from protocol.network import build_network, tensors_of
from protocol.parts import shared_layout
from protocol.plan import Plan
from protocol.vectors import from_wire, to_wire
from silo_node.cohort import CohortStore
from silo_node.gate import UNSIGNED, Gate
from silo_node.node import SiloNode
from silo_node.outbox import Outbox
from silo_node.policy import Policy
from silo_node.release_checks import Passage
from tests.conftest import GENEROUS, PRIVATE, tiny_node, tiny_plan, tiny_store

LOCAL = {"mechanism": "local", "secure_aggregation": False}


class Hospital:
    """A node, its ledger, and the other end of its wire."""

    def __init__(
        self, folder: Path, plan: Plan, policy: Policy = GENEROUS, n: int = 80, store: CohortStore | None = None
    ) -> None:
        self.folder, self.plan, self.policy = folder, plan, policy
        self.store = store or tiny_store(folder / "store", n=n)
        self.state = folder / "state"
        self.node = self.fresh()
        network = build_network(plan)
        self.layout = shared_layout(network, frozenset())
        self.vector = self.layout.flatten(tensors_of(network))

    def fresh(self) -> SiloNode:
        self.node = tiny_node("site", self.store, self.state, self.policy)
        return self.node

    @property
    def ledger(self) -> Ledger:
        return Ledger.open(self.state / "ledger.jsonl")

    def address(self, number: int = 0, job: str = "job-1", attempt: int = 0) -> Address:
        return Address(job, self.plan.digest, number, attempt)

    def ask(self, request: Request) -> Release:
        return decode_release(self.node(encode(request)))

    def describe(self, receipts: tuple[Receipt, ...] = (), job: str = "job-1") -> Release:
        return self.ask(Describe(self.address(job=job), self.plan.canonical, receipts))

    def train(self, number: int = 1, attempt: int = 0, vector: np.ndarray | None = None, job: str = "job-1") -> Release:
        wire = to_wire(self.vector if vector is None else vector)
        return self.ask(Train(self.address(number, job, attempt), 60.0, wire))

    def score(self, number: int, split: str, kind: str = "federated", attempt: int = 0) -> Release:
        return self.ask(Score(self.address(number, attempt=attempt), kind, split, to_wire(self.vector)))

    def releases(self) -> list[str]:
        return [entry.release for entry in self.ledger.entries]


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    hospital = Hospital(tmp_path, tiny_plan(**PRIVATE))
    assert isinstance(hospital.describe(), PrivateDescription)
    return hospital


def refusal(answer: Release, error: str, says: str) -> None:
    assert isinstance(answer, Refusal), answer
    assert answer.error == error
    assert says in answer.reason


def update_of(answer: Release) -> PrivateUpdate:
    assert isinstance(answer, PrivateUpdate), answer
    return answer


def scores_of(answer: Release) -> PrivateScores:
    assert isinstance(answer, PrivateScores), answer
    return answer


# ---------------------------------------------------------------------------------------------------------- what leaves


def test_no_count_and_no_loss_leaves_a_private_job() -> None:
    """The wire's allow-list: whoever adds a field to a private release has to think here."""
    assert PrivateDescription.__struct_fields__ == ("address", "layout_digest", "cohort")
    assert PrivateUpdate.__struct_fields__ == ("address", "delta", "receipt")
    assert PrivateScores.__struct_fields__ == ("address", "kind", "split", "epsilon", "scale", "classes", "receipt")
    assert Receipt.__struct_fields__ == ("cohort", "entries", "head", "public_key", "signature")


def test_the_description_of_two_cohorts_differs_only_in_a_random_token(tmp_path: Path) -> None:
    plan = tiny_plan(**PRIVATE)
    one, two = (Hospital(tmp_path / str(n), plan, n=n) for n in (40, 90))
    first, second = one.describe(), two.describe()
    assert isinstance(first, PrivateDescription)
    assert isinstance(second, PrivateDescription)
    assert msgspec.structs.replace(first, cohort="") == msgspec.structs.replace(second, cohort="")
    assert len(encode(first)) == len(encode(second))
    one.fresh()
    assert one.describe() == first
    digest = one.store.digest
    assert digest not in first.cohort


def test_every_release_is_charged_before_it_leaves_and_its_receipt_names_the_charge(hospital: Hospital) -> None:
    assert not (hospital.state / "ledger.jsonl").exists() or hospital.releases() == []
    update = update_of(hospital.train(1))
    assert hospital.releases() == ["round/1"]
    assert update.receipt.head == hospital.ledger.head.digest
    scores = scores_of(hospital.score(1, "validation"))
    assert hospital.releases() == ["round/1", "scores/1/federated/validation"]
    assert [entry.part for entry in hospital.ledger.entries] == ["train", "validation"]
    assert scores.receipt.entries == 2
    assert np.abs(from_wire(update.delta)).max() > 0


def test_a_release_that_cannot_be_charged_does_not_leave(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with caplog.at_level("ERROR"):
        refusal(hospital.train(1), "Withheld", "own log")
    assert "No space left on device" in caplog.text
    assert str(hospital.folder) not in caplog.text


def test_scores_come_also_from_a_part_without_patients(tmp_path: Path) -> None:
    plan = tiny_plan(**PRIVATE, **{"data.split": {"test_fraction": 0.0, "validation_fraction": 0.0}})
    hospital = Hospital(tmp_path, plan)
    hospital.describe()
    scores = scores_of(hospital.score(plan.federation.rounds, "test"))
    assert len(scores.classes) == 1
    assert any(scores.classes[0].positive + scores.classes[0].negative)  # noise


# ------------------------------------------------------------------------------------------------- asked twice, paid once


def test_the_same_round_asked_again_gives_the_same_bytes_for_nothing_also_after_a_restart(hospital: Hospital) -> None:
    first = update_of(hospital.train(1))
    again = update_of(hospital.train(1, attempt=1))
    hospital.fresh()
    restarted = update_of(hospital.train(1, attempt=2))
    assert bytes(first.delta) == bytes(again.delta) == bytes(restarted.delta)
    assert (first.address.attempt, again.address.attempt, restarted.address.attempt) == (0, 1, 2)
    scores = [scores_of(hospital.score(1, "validation", attempt=n)).classes for n in (0, 1)]
    assert scores[0] == scores[1]
    assert hospital.releases() == ["round/1", "scores/1/federated/validation"]


def test_two_jobs_of_one_plan_share_no_noise_and_both_pay(hospital: Hospital) -> None:
    first = update_of(hospital.train(1))
    hospital.describe(job="job-2")
    second = update_of(hospital.train(1, job="job-2"))
    assert bytes(first.delta) != bytes(second.delta)
    assert [entry.job for entry in hospital.ledger.entries] == ["job-1", "job-2"]


def test_a_round_is_not_answered_for_a_second_model(hospital: Hospital) -> None:
    update_of(hospital.train(1))
    refusal(hospital.train(1, attempt=1, vector=hospital.vector + 1), "SiloError", "answered once")
    scores_of(hospital.score(1, "validation"))
    hospital.vector = hospital.vector + 1
    refusal(hospital.score(1, "validation"), "SiloError", "answered once")


def test_a_release_that_was_charged_and_lost_is_not_sampled_anew(hospital: Hospital) -> None:
    update_of(hospital.train(1))
    shutil.rmtree(hospital.state / "jobs" / "job-1" / "outbox")
    hospital.fresh()
    refusal(hospital.train(1), "SiloError", "second sample")
    assert hospital.releases() == ["round/1"]


def test_of_two_samples_made_at_the_same_time_one_leaves(tmp_path: Path) -> None:
    """Two processes of one silo, asked for the same round: whoever keeps first decides what both send."""
    outbox = Outbox(tmp_path)
    assert outbox.keep("round/1", "model", b"first") == b"first"
    assert outbox.keep("round/1", "model", b"second") == b"first"
    assert outbox.find("round/1", "model") == b"first"
    with pytest.raises(SiloError, match="answered once"):
        outbox.keep("round/1", "another model", b"third")
    assert len(list(tmp_path.iterdir())) == 1


def test_only_what_the_plan_foresees_is_made(hospital: Hospital) -> None:
    last = hospital.plan.federation.rounds
    refusal(hospital.train(0), "SiloError", "rounds 1 to 3")
    refusal(hospital.train(last + 1), "SiloError", "rounds 1 to 3")
    refusal(hospital.score(1, "test"), "SiloError", "foresees no test")
    refusal(hospital.score(last, "train"), "SiloError", "foresees no train")
    refusal(hospital.score(last, "test", kind="alone"), "SiloError", "foresees no")
    wire = to_wire(hospital.vector)
    for request in (TrainAlone(hospital.address(last), 60.0), Personalise(hospital.address(last), 60.0, wire)):
        refusal(hospital.ask(request), "SiloError", "without noise")
    assert not (hospital.state / "ledger.jsonl").exists() or hospital.releases() == []


# ---------------------------------------------------------------------------------------------------- budget and policy


def policy(**changes: object) -> Policy:
    return Policy.model_validate({**GENEROUS.model_dump(by_alias=True), **changes})


@pytest.mark.parametrize(
    ("change", "plan", "says"),
    [
        ({"allow_without_privacy": False}, {}, "no differential privacy"),
        ({"max_epsilon_per_study": 1.0}, PRIVATE, "max_epsilon_per_study is 1"),
        ({"max_delta": 1e-9}, PRIVATE, "max_delta"),
        ({"min_patients": 1000}, PRIVATE, "min_patients 1000"),
        ({"min_patients": 1000}, {}, "min_patients 1000"),
        ({"mechanisms": ()}, PRIVATE, "does not allow privacy.mechanism local"),
    ],
)
def test_a_plan_that_the_hospital_does_not_allow_is_refused_at_once(
    tmp_path: Path, change: dict[str, object], plan: dict[str, object], says: str
) -> None:
    refusal(Hospital(tmp_path, tiny_plan(**plan), policy(**change)).describe(), "PolicyError", says)


def test_the_default_policy_refuses_a_plan_without_privacy_and_admits_epsilon_eight(tmp_path: Path) -> None:
    refusal(Hospital(tmp_path / "a", tiny_plan(), Policy()).describe(), "PolicyError", "no differential privacy")
    private = {**PRIVATE, "privacy": {**LOCAL, "epsilon": 8.0, "batch_patients": 5}}
    assert isinstance(Hospital(tmp_path / "b", tiny_plan(**private), Policy()).describe(), PrivateDescription)


def test_a_study_that_no_longer_fits_the_budget_is_refused_before_its_first_round(tmp_path: Path) -> None:
    plan = tiny_plan(**{**PRIVATE, "privacy": {**LOCAL, "epsilon": 8.0, "batch_patients": 5}})
    hospital = Hospital(tmp_path, plan, policy(max_epsilon_total=12.0))
    assert isinstance(hospital.describe(), PrivateDescription)
    for number in range(1, plan.federation.rounds + 1):
        update_of(hospital.train(number))
    refusal(hospital.describe(job="job-2"), "BudgetError", "max_epsilon_total")
    hospital.fresh()
    refusal(hospital.describe(job="job-2"), "BudgetError", "max_epsilon_total")


def test_the_budget_is_one_for_all_jobs_and_a_round_that_would_pass_it_is_refused_before_it_trains(tmp_path: Path) -> None:
    """Two studies that each fit, begun side by side, do not fit together."""
    plan = tiny_plan(**{**PRIVATE, "privacy": {**LOCAL, "epsilon": 8.0, "batch_patients": 5}})
    hospital = Hospital(tmp_path, plan, policy(max_epsilon_total=12.0))
    assert isinstance(hospital.describe(job="job-1"), PrivateDescription)
    assert isinstance(hospital.describe(job="job-2"), PrivateDescription)
    answers = [hospital.train(number, job=job) for number in (1, 2, 3) for job in ("job-1", "job-2")]
    refused = [answer for answer in answers if isinstance(answer, Refusal)]
    assert refused
    assert {answer.error for answer in refused} == {"BudgetError"}
    assert len(hospital.releases()) == len(answers) - len(refused)


def test_the_hospital_can_keep_scores_at_home(tmp_path: Path) -> None:
    hospital = Hospital(tmp_path, tiny_plan(**PRIVATE), policy(scores="none"))
    hospital.describe()
    refusal(hospital.score(1, "validation"), "GateError", "scores: none")
    assert hospital.releases() == []
    open_hospital = Hospital(tmp_path / "open", tiny_plan(), policy(scores="noised"))
    open_hospital.describe()
    refusal(open_hospital.score(1, "validation"), "GateError", "scores: noised")


# ------------------------------------------------------------------------------------------------------------ the ledger


def test_a_ledger_that_was_copied_back_is_noticed_from_what_the_silo_keeps_apart(hospital: Hospital, tmp_path: Path) -> None:
    update_of(hospital.train(1))
    shutil.copy(hospital.state / "ledger.jsonl", tmp_path / "older")
    update_of(hospital.train(2))
    shutil.copy(tmp_path / "older", hospital.state / "ledger.jsonl")
    hospital.fresh()
    refusal(hospital.train(3), "LedgerRolledBackError", "older")
    (hospital.state / "ledger.jsonl").unlink()
    hospital.fresh()
    refusal(hospital.describe(), "LedgerError", "Restore")


def test_a_ledger_rolled_back_together_with_the_silos_state_is_noticed_from_the_receipt_handed_back(
    hospital: Hospital, tmp_path: Path
) -> None:
    update_of(hospital.train(1))
    shutil.copytree(hospital.state, tmp_path / "older")
    receipt = update_of(hospital.train(2)).receipt
    shutil.rmtree(hospital.state)
    shutil.copytree(tmp_path / "older", hospital.state)
    hospital.fresh()
    assert isinstance(hospital.describe(), PrivateDescription)
    refusal(hospital.describe((receipt,)), "LedgerRolledBackError", "older")


def test_receipts_of_others_or_forged_ones_stop_nobody(hospital: Hospital) -> None:
    receipt = update_of(hospital.train(1)).receipt
    forged = [
        msgspec.structs.replace(receipt, entries=999),
        msgspec.structs.replace(receipt, public_key=b"\1" * 32, entries=7),
        msgspec.structs.replace(receipt, signature=b"", head="sha256:00"),
    ]
    assert isinstance(hospital.describe((receipt, *forged)), PrivateDescription)


def test_a_changed_ledger_stops_the_silo(hospital: Hospital) -> None:
    update_of(hospital.train(1))
    path = hospital.state / "ledger.jsonl"
    path.write_text(path.read_text().replace('"noise_multiplier":2', '"noise_multiplier":9'))
    hospital.fresh()
    refusal(hospital.train(2), "LedgerError", "")


# ------------------------------------------------------------------------------------------------------------- the gate


def test_the_gate_lets_no_open_release_out_of_a_private_job_and_none_that_was_not_noised_as_planned(hospital: Hospital) -> None:
    update = update_of(hospital.train(1))
    scores = scores_of(hospital.score(1, "validation"))
    gate = hospital.node._gate
    assert isinstance(gate, Gate)
    job = hospital.node._jobs["job-1"]
    passage, address = job.passage, update.address
    bare = Update(address, update.delta, 1, 1, 0.5, 0.0, 1, 1.0)
    for message, says in [
        (bare, "not a release of this plan"),
        (msgspec.structs.replace(scores, epsilon=50.0), "not noised"),
        (msgspec.structs.replace(scores, scale=1e-3), "not noised"),
        (msgspec.structs.replace(update, delta=update.delta[:-4]), "length"),
        (msgspec.structs.replace(update, delta=to_wire(np.full(passage.layout.size, np.nan, np.float32))), "not finite"),
        (msgspec.structs.replace(update, address=hospital.address(2)), "another request"),
    ]:
        with pytest.raises(GateError, match=says):
            gate.release(message, message.address if "noised" in says else address, passage)
    open_passage = Passage(passage.job, tiny_plan(), None, passage.layout)
    with pytest.raises(GateError, match="not a release"):
        gate.release(update, address, open_passage)


def test_what_the_gate_makes_carries_its_own_receipt(hospital: Hospital) -> None:
    update = update_of(hospital.train(1))
    assert update.receipt != UNSIGNED
    job = hospital.node._jobs["job-1"]
    forged = msgspec.structs.replace(update, receipt=msgspec.structs.replace(update.receipt, entries=0))
    again = decode_release(hospital.node._gate.release(forged, update.address, job.passage))
    assert update_of(again).receipt == update.receipt


def test_neither_reason_nor_kind_of_an_unforeseen_error_leaves_a_private_job(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def explode(*_: object) -> None:
        raise CohortError("17 patients have no label")

    monkeypatch.setattr("silo_node.private_answers.round_charge", explode)
    refusal(hospital.train(1), "Withheld", "own log")
    assert "17 patients" in caplog.text


# ------------------------------------------------------------------------------------------------------------- training


def test_without_any_patient_in_a_step_noise_still_leaves(tmp_path: Path) -> None:
    """A rate so small that no patient is ever drawn: the update is all noise, and as large as the plan says."""
    changes = {**PRIVATE, "privacy": {**PRIVATE["privacy"], "sampling_rate": 1e-4}}
    plan = tiny_plan(
        **changes, **{"training.optimizer": {"name": "SGD", "lr": 1.0}, "training.mu": 0.0, "training.local_steps": 1}
    )
    hospital = Hospital(tmp_path, plan)
    hospital.describe()
    noise = from_wire(update_of(hospital.train(1)).delta)
    expected = 2.0 * plan.privacy.clip_norm / plan.privacy.batch_patients  # type: ignore[union-attr]
    assert np.std(noise) == pytest.approx(expected, rel=6 / np.sqrt(2 * noise.size))


def test_without_noise_to_speak_of_private_training_is_clipped_gradient_descent(tmp_path: Path) -> None:
    """Full sampling, one step, a bound nobody reaches: the sum of the patients' gradients over the public batch size, and
    what is left over is the noise, as large as the plan says."""
    import torch
    from torch.nn import functional

    from silo_node.training.cohort import load_cohort

    privacy = {**LOCAL, "noise_multiplier": 0.05, "clip_norm": 5.0, "sampling": "full", "batch_patients": 7}
    plan = tiny_plan(
        **{
            **PRIVATE,
            "privacy": privacy,
            "training.optimizer": {"name": "SGD", "lr": 0.5},
            "training.local_steps": 1,
            "training.mu": 0.0,
            "data.augmentation": [],
            "network.args.dropout": 0.0,
        },
    )
    hospital = Hospital(tmp_path, plan, policy(max_epsilon_per_study=1e9, max_epsilon_total=1e9))
    answer = hospital.describe()
    assert isinstance(answer, PrivateDescription), answer
    delta = from_wire(update_of(hospital.train(1)).delta)
    cohort = load_cohort(hospital.store, plan, tmp_path / "cache")
    network = build_network(plan).train()
    total = np.zeros(hospital.layout.size)
    train = np.array(cohort.parts.train)
    for patient in np.unique(cohort.patients[train]):
        rows = train[cohort.patients[train] == patient]
        network.zero_grad()
        functional.cross_entropy(
            network(torch.from_numpy(cohort.images[rows])), torch.from_numpy(cohort.labels[rows])
        ).backward()
        total += hospital.layout.flatten({name: p.grad.numpy() for name, p in network.named_parameters() if p.grad is not None})
    expected = -0.5 * total / 7
    noise = 0.5 * 0.05 * 5.0 / 7
    assert np.std(delta - expected) == pytest.approx(noise, rel=6 / np.sqrt(2 * expected.size))
    assert np.linalg.norm(expected) > 3 * noise * np.sqrt(expected.size)


def test_personal_parts_are_trained_inside_the_noised_step_and_stay(tmp_path: Path) -> None:
    plan = tiny_plan(**PRIVATE, **{"federation.personal": ["head"]})
    hospital = Hospital(tmp_path, plan)
    hospital.describe()
    network = build_network(plan)
    layout = shared_layout(network, frozenset(name for name in network.state_dict() if name.startswith("final")))
    hospital.vector = layout.flatten(tensors_of(network))
    assert from_wire(update_of(hospital.train(1)).delta).size == layout.size
    assert (hospital.state / "jobs" / "job-1" / "personal-00001.safetensors").exists()
