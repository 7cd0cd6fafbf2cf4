"""What an aggregator may try to learn one hospital's scores where the plan lets only sums leave; each is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from aggregator.models import Models
from evaluation.summed import vector_size
from privacy.ledger import Ledger
from privacy.secure_aggregation.agreement import check_model, count_bound, masked_counts, propose
from privacy.secure_aggregation.payload import payload_size
from protocol.canonical import digest_bytes
from protocol.errors import AggregationError, GateError
from protocol.messages import (
    Address,
    Advertise,
    Advertised,
    AskVouch,
    Deliver,
    Describe,
    Done,
    MaskedScores,
    MaskedUpdate,
    Personalise,
    Refusal,
    Release,
    Request,
    Reveal,
    Revealed,
    Score,
    ScoreMasked,
    Scores,
    Shared,
    ShareSecrets,
    TrainMasked,
    Vouched,
    decode_release,
    encode,
)
from protocol.plan import Plan
from protocol.secure_aggregation import UPDATE, Manifest, Member, scores_purpose
from protocol.vectors import to_wire
from silo_node.node import SiloNode
from silo_node.policy import Policy
from silo_node.release_checks import Passage, check_kind
from tests.aggregator.test_distributed_privacy import plan as distributed_plan
from tests.aggregator.test_secure_rounds import PRIVATE_SECURE, SECURE
from tests.conftest import GENEROUS, tiny_node, tiny_plan, tiny_store

TEST = scores_purpose("federated", "test")
VALIDATION = scores_purpose("federated", "validation")
NAMES = ("s0", "s1", "s2", "s3")


class Aggregator:
    """Four hospitals under a plan of sums, and whoever asks them: honest phase by phase, or not."""

    def __init__(self, folder: Path, plan: Plan | None = None, policy: Policy = GENEROUS) -> None:
        self.folder, self.plan = folder, plan or plan_of()
        self.nodes = {
            name: tiny_node(name, tiny_store(folder / name, n=40, seed=i), folder / f"state-{name}", policy)
            for i, name in enumerate(NAMES)
        }
        self.members = [Member(name, node.public_key) for name, node in self.nodes.items()]
        for node in self.nodes.values():
            node.pin(self.members)
            decode_release(node(encode(Describe(self.address(0, UPDATE), self.plan.canonical))))
        self.model = to_wire(Models(self.plan, None).initial)  # type: ignore[arg-type]

    def fresh(self, name: str) -> SiloNode:
        """The node after a restart."""
        store = self.nodes[name]._store
        self.nodes[name] = tiny_node(name, store, self.folder / f"state-{name}", GENEROUS)
        self.nodes[name].pin(self.members)
        return self.nodes[name]

    def address(self, number: int, purpose: str, attempt: int = 0) -> Address:
        return Address("job-1", self.plan.digest, number, attempt, purpose)

    def manifest(self, purpose: str, model: memoryview | None = None) -> Manifest:
        size = payload_size(self.plan, len(self.model) // 4) if purpose == UPDATE else vector_size(self.plan)
        return propose(self.plan, "job-1", self.members, purpose, size, self.model if model is None else model)

    def ask(self, name: str, request: Request) -> Release:
        return decode_release(self.nodes[name](encode(request)))

    def each(self, request: Callable[[str], Request], names: tuple[str, ...] = NAMES) -> dict[str, Any]:
        return {name: self.ask(name, request(name)) for name in names}

    def keys(self, address: Address, manifest: Manifest) -> tuple[Any, ...]:
        found = self.each(lambda _: Advertise(address, manifest))
        assert all(isinstance(one, Advertised) for one in found.values()), found
        return tuple(one.advertisement for one in found.values())

    def boxes(self, address: Address, keys: tuple[Any, ...]) -> dict[str, tuple[Any, ...]]:
        found = self.each(lambda _: ShareSecrets(address, keys))
        assert all(isinstance(one, Shared) for one in found.values()), found
        boxes = [box for one in found.values() for box in one.boxes]
        return {name: tuple(box for box in boxes if box.receiver == name) for name in NAMES}

    def masked(self, address: Address, boxes: dict[str, tuple[Any, ...]], names: tuple[str, ...] = NAMES) -> dict[str, Any]:
        update = address.purpose == UPDATE
        self.each(lambda name: Deliver(address, boxes[name]), names)
        wanted = TrainMasked(address, 60.0, self.model) if update else ScoreMasked(address, self.model)
        return self.each(lambda _: wanted, names)

    def until_masked(self, number: int, purpose: str, attempt: int = 0) -> Address:
        address = self.address(number, purpose, attempt)
        found = self.masked(address, self.boxes(address, self.keys(address, self.manifest(purpose))))
        assert all(isinstance(one, MaskedUpdate | MaskedScores) for one in found.values()), found
        return address

    def opened(self, number: int, purpose: str, attempt: int = 0) -> Address:
        address = self.until_masked(number, purpose, attempt)
        vouches = tuple(one.vouch for one in self.each(lambda _: AskVouch(address, NAMES)).values())
        revealed = self.each(lambda _: Reveal(address, vouches))
        assert all(isinstance(one, Revealed) for one in revealed.values()), revealed
        return address


def plan_of(*, private: bool = False, **changes: Any) -> Plan:
    evaluation = {"alone": False, "scores": "summed", "every": 2}
    return tiny_plan(**{**(PRIVATE_SECURE if private else SECURE), "evaluation": evaluation, **changes})


def refused(answer: Release, error: str, says: str) -> None:
    assert isinstance(answer, Refusal), answer
    assert (answer.error, says in answer.reason) == (error, True), answer


@pytest.fixture
def aggregator(tmp_path: Path) -> Aggregator:
    return Aggregator(tmp_path)


# ------------------------------------------------------------------------------------------------------ asked in the clear


@pytest.mark.parametrize("private", [False, True], ids=["open", "private"])
def test_scores_asked_for_in_the_clear_are_refused_and_cost_nothing(private: bool, tmp_path: Path) -> None:
    aggregator = Aggregator(tmp_path, plan_of(private=private))
    for purpose in (UPDATE, TEST):
        answer = aggregator.ask("s0", Score(aggregator.address(3, purpose), "federated", "test", aggregator.model))
        refused(answer, "SiloError", "scores leave masked only")
    if private:
        assert not Ledger.open(tmp_path / "state-s0" / "ledger.jsonl").entries


def test_the_gate_lets_no_readable_score_of_such_a_plan_out_whoever_made_it(aggregator: Aggregator) -> None:
    job = aggregator.nodes["s0"]._jobs["job-1"]
    address = aggregator.address(3, UPDATE)
    with pytest.raises(GateError, match="Scores is not a release of this plan"):
        check_kind(Scores(address, "federated", "test", 1, 0.5, 1.0, ()), address, job.passage)


@pytest.mark.parametrize(
    ("purpose", "message"),
    [
        (TEST, lambda address: MaskedUpdate(address, memoryview(b""), None)),
        (UPDATE, lambda address: MaskedScores(address, memoryview(b""), None)),
        (TEST, lambda address: Scores(address, "federated", "test", 1, 0.5, 1.0, ())),
    ],
)
def test_the_gate_lets_nothing_out_that_belongs_to_another_purpose(
    aggregator: Aggregator, purpose: str, message: Callable[[Address], Release]
) -> None:
    passage, address = aggregator.nodes["s0"]._jobs["job-1"].passage, aggregator.address(3, purpose)
    with pytest.raises(GateError, match="not a release of this plan"):
        check_kind(message(address), address, passage)
    elsewhere = Passage(passage.job, passage.plan, passage.guarantee, passage.layout, passage.masked_size)
    with pytest.raises(GateError, match="not a release of this plan"):
        check_kind(MaskedScores(address, memoryview(b""), None), address, elsewhere)


# ------------------------------------------------------------------------------------------------------------- manifests


def replaced(manifest: Manifest, **changes: Any) -> Manifest:
    return msgspec.structs.replace(manifest, **changes)


def parameters(manifest: Manifest, **changes: Any) -> Manifest:
    return replaced(manifest, parameters=manifest.parameters | changes)


FORGED: dict[str, Callable[[Aggregator, Manifest], Manifest]] = {
    "of an update": lambda a, _: a.manifest(UPDATE),
    "of another scoring": lambda a, _: a.manifest(VALIDATION),
    "with another purpose": lambda _, m: parameters(m, purpose=VALIDATION),
    "with another bound": lambda _, m: parameters(m, bound=count_bound(3)),
    "with more parameters": lambda _, m: parameters(m, weight=1),
    "of another size": lambda _, m: replaced(m, size=m.size + 1),
    "of another width": lambda _, m: replaced(m, width_bits=64),
    "of one silo": lambda _, m: replaced(m, roster=m.roster[:1], threshold=1, min_survivors=1, colluders=0),
    "of three of the four": lambda _, m: replaced(m, roster=m.roster[:3], min_survivors=3, colluders=0),
    "with a silo nobody pinned": lambda _, m: replaced(m, roster=(*m.roster[:3], Member("s3", b"\x01" * 32))),
    "with a low threshold": lambda _, m: replaced(m, threshold=2, min_survivors=2),
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_a_manifest_that_is_not_this_scoring_s_is_refused(
    aggregator: Aggregator, forged: Callable[[Aggregator, Manifest], Manifest]
) -> None:
    manifest = forged(aggregator, aggregator.manifest(TEST))
    refused(aggregator.ask("s0", Advertise(aggregator.address(3, TEST), manifest)), "AggregationError", "manifest was refused")


def test_a_silo_that_is_shown_another_model_than_the_others_sends_nothing(aggregator: Aggregator) -> None:
    """One hospital scores the real model, the others one that puts every score into one bin: the sum would be that one's."""
    address = aggregator.address(3, TEST)
    boxes = aggregator.boxes(address, aggregator.keys(address, aggregator.manifest(TEST)))
    aggregator.each(lambda name: Deliver(address, boxes[name]))
    other = memoryview(bytes(len(aggregator.model)))
    refused(aggregator.ask("s1", ScoreMasked(address, other)), "AggregationError", "the model is not the one")
    address = aggregator.address(1, UPDATE)
    boxes = aggregator.boxes(address, aggregator.keys(address, aggregator.manifest(UPDATE)))
    aggregator.each(lambda name: Deliver(address, boxes[name]))
    answer = aggregator.ask("s1", TrainMasked(address, 60.0, other))
    refused(answer, "AggregationError", "the model is not the one")


def test_two_manifests_that_differ_in_the_model_alone_do_not_meet(aggregator: Aggregator) -> None:
    address, other = aggregator.address(3, TEST), memoryview(bytes(len(aggregator.model)))
    shown = {name: aggregator.manifest(TEST, other if name == "s0" else None) for name in NAMES}
    found = aggregator.each(lambda name: Advertise(address, shown[name]))
    keys = tuple(one.advertisement for one in found.values())
    refused(aggregator.ask("s0", ShareSecrets(address, keys)), "AggregationError", "another manifest")


def test_the_model_is_compared_byte_by_byte_and_no_model_is_not_any(aggregator: Aggregator) -> None:
    manifest = aggregator.manifest(TEST)
    check_model(manifest, aggregator.model)
    for other in (None, b"", bytes(aggregator.model)[:-1], bytes(aggregator.model) + b"\0"):
        with pytest.raises(AggregationError):
            check_model(manifest, other)


# ----------------------------------------------------------------------------------------------------------------- replays


def test_keys_and_shares_of_an_update_are_none_of_a_scoring(aggregator: Aggregator) -> None:
    """Round and attempt agree; only the purpose does not."""
    update, scoring = aggregator.address(3, UPDATE), aggregator.address(3, TEST)
    old_keys = aggregator.keys(update, aggregator.manifest(UPDATE))
    old_boxes = aggregator.boxes(update, old_keys)
    keys = aggregator.keys(scoring, aggregator.manifest(TEST))
    refused(aggregator.ask("s0", ShareSecrets(scoring, (keys[0], *old_keys[1:]))), "AggregationError", "belongs to")
    aggregator.boxes(scoring, keys)
    aggregator.ask("s0", Deliver(scoring, old_boxes["s0"]))
    answer = aggregator.ask("s0", ScoreMasked(scoring, aggregator.model))
    assert isinstance(answer, Refusal)
    assert answer.error == "AggregationError"


def test_a_relabelled_advertisement_is_not_signed(aggregator: Aggregator) -> None:
    update, scoring = aggregator.address(3, UPDATE), aggregator.address(3, TEST)
    old = aggregator.keys(update, aggregator.manifest(UPDATE))
    keys = aggregator.keys(scoring, aggregator.manifest(TEST))
    forged = msgspec.structs.replace(old[1], where=keys[1].where, manifest=keys[1].manifest)
    answer = aggregator.ask("s0", ShareSecrets(scoring, (keys[0], forged, *keys[2:])))
    refused(answer, "AggregationError", "not signed by the key")


def test_vouches_for_an_update_or_another_scoring_open_no_scores(aggregator: Aggregator) -> None:
    others = [aggregator.until_masked(3, UPDATE), aggregator.until_masked(3, VALIDATION)]
    scoring = aggregator.until_masked(3, TEST)
    aggregator.each(lambda _: AskVouch(scoring, NAMES))
    for other in others:
        vouches = tuple(one.vouch for one in aggregator.each(lambda _, at=other: AskVouch(at, NAMES)).values())
        refused(aggregator.ask("s0", Reveal(scoring, vouches)), "AggregationError", "belongs to")


def test_a_phase_in_the_name_of_another_purpose_is_refused(aggregator: Aggregator) -> None:
    update, scoring = aggregator.address(3, UPDATE), aggregator.address(3, TEST)
    boxes = aggregator.boxes(update, aggregator.keys(update, aggregator.manifest(UPDATE)))
    aggregator.ask("s0", Deliver(update, boxes["s0"]))
    answer = aggregator.ask("s0", ScoreMasked(update, aggregator.model))
    refused(answer, "SiloError", "in the name of a round")
    boxes = aggregator.boxes(scoring, aggregator.keys(scoring, aggregator.manifest(TEST)))
    aggregator.ask("s0", Deliver(scoring, boxes["s0"]))
    answer = aggregator.ask("s0", TrainMasked(scoring, 60.0, aggregator.model))
    refused(answer, "SiloError", "in the name of a scoring")


def test_a_scoring_and_a_round_side_by_side_do_not_disturb_each_other(aggregator: Aggregator) -> None:
    aggregator.until_masked(3, UPDATE)
    aggregator.opened(3, TEST)
    update = aggregator.address(3, UPDATE)
    assert isinstance(aggregator.ask("s0", AskVouch(update, NAMES)), Vouched)


# ------------------------------------------------------------------------------------------------------------- second sums


@pytest.mark.parametrize("private", [False, True], ids=["open", "private"])
def test_scores_that_were_opened_are_in_no_second_sum_not_even_after_a_restart(private: bool, tmp_path: Path) -> None:
    aggregator = Aggregator(tmp_path, plan_of(private=private))
    aggregator.opened(3, TEST)
    for node in ("s0", "s1"):
        aggregator.fresh(node)
        answer = aggregator.ask(node, Advertise(aggregator.address(3, TEST, attempt=1), aggregator.manifest(TEST)))
        refused(answer, "AggregationError", "not put into a second sum")
    aggregator.opened(2, VALIDATION)  # another scoring is not this one


def test_counts_are_not_masked_once_another_process_of_the_silo_helped_to_open_them(aggregator: Aggregator) -> None:
    address = aggregator.address(3, TEST, attempt=1)
    boxes = aggregator.boxes(address, aggregator.keys(address, aggregator.manifest(TEST)))
    state = aggregator.folder / "state-s0" / "jobs" / "job-1"
    (state / "secure-scores-federated-test.opened").write_text("3/0\n", encoding="ascii")
    refused(aggregator.masked(address, boxes, ("s0",))["s0"], "AggregationError", "not put into a second sum")
    assert isinstance(aggregator.masked(address, boxes, ("s1",))["s1"], MaskedScores)


def test_a_second_survivor_set_is_not_vouched_for(aggregator: Aggregator) -> None:
    scoring = aggregator.until_masked(3, TEST)
    assert isinstance(aggregator.ask("s0", AskVouch(scoring, NAMES)), Vouched)
    refused(aggregator.ask("s0", AskVouch(scoring, NAMES[:3])), "AggregationError", "other survivors")


def test_an_attempt_that_was_masked_is_not_masked_again(aggregator: Aggregator) -> None:
    address = aggregator.address(3, TEST)
    boxes = aggregator.boxes(address, aggregator.keys(address, aggregator.manifest(TEST)))
    aggregator.masked(address, boxes)
    again = aggregator.masked(address, boxes, ("s0",))["s0"]
    refused(again, "AggregationError", "A step is done once")
    refused(aggregator.ask("s0", Advertise(address, aggregator.manifest(TEST))), "AggregationError", "not later than the last")


@pytest.mark.parametrize(
    ("number", "kind", "split"),
    [
        (1, "federated", "validation"),
        (4, "federated", "validation"),
        (2, "federated", "test"),
        (0, "federated", "validation"),
        (3, "alone", "test"),
        (3, "personalised", "test"),
        (2, "alone", "validation"),
    ],
)
def test_a_scoring_that_the_plan_does_not_foresee_is_refused_before_keys_are_made(
    aggregator: Aggregator, number: int, kind: str, split: str
) -> None:
    """Nearly the same counts asked for round after round, over other silos each time, would be told apart."""
    purpose = scores_purpose(kind, split)
    answer = aggregator.ask("s0", Advertise(aggregator.address(number, purpose), aggregator.manifest(purpose)))
    refused(answer, "SiloError", "the plan foresees no")


# ------------------------------------------------------------------------------------------------------------------ policy


@pytest.mark.parametrize(
    ("allowed", "private", "leaves"),
    [
        ("none", True, False),
        ("noised", True, True),
        ("noised", False, False),
        ("summed", False, True),
        ("exact", False, True),
    ],
)
def test_what_the_hospital_s_policy_says_of_scores_holds_for_sums(
    allowed: Any, private: bool, leaves: bool, tmp_path: Path
) -> None:
    policy = GENEROUS.model_copy(update={"scores": allowed})
    aggregator = Aggregator(tmp_path, plan_of(private=private), policy)
    answer = aggregator.ask("s0", Advertise(aggregator.address(3, TEST), aggregator.manifest(TEST)))
    if leaves:
        assert isinstance(answer, Advertised)
    else:
        refused(answer, "GateError", f"scores: {allowed}")


def test_a_policy_of_sums_lets_no_exact_score_of_this_hospital_out(tmp_path: Path) -> None:
    policy = GENEROUS.model_copy(update={"scores": "summed"})
    aggregator = Aggregator(tmp_path, tiny_plan(**SECURE), policy)
    answer = aggregator.ask("s0", Score(aggregator.address(3, UPDATE), "federated", "test", aggregator.model))
    refused(answer, "GateError", "no exact scores leave")


def test_a_plan_of_single_scores_has_no_summed_ones(tmp_path: Path) -> None:
    aggregator = Aggregator(tmp_path, tiny_plan(**SECURE))
    answer = aggregator.ask("s0", Advertise(aggregator.address(3, TEST), aggregator.manifest(TEST)))
    refused(answer, "SiloError", "not summed")


# ---------------------------------------------------------------------------------------------------------------- overflow


def test_counts_that_might_wrap_around_are_refused_and_noised_ones_are_cut() -> None:
    bound = count_bound(50)
    assert 50 * bound < 2**31 <= 50 * (bound + 1)
    assert masked_counts(np.array([bound, 0]), 50, noised=False).tolist() == [bound, 0]
    with pytest.raises(AggregationError, match="wrap around"):
        masked_counts(np.array([0, bound + 1]), 50, noised=False)
    cut = masked_counts(np.array([bound + 1, -bound - 7, -3]), 50, noised=True).view(np.int32)
    assert cut.tolist() == [bound, -bound, -3]


def test_without_the_others_shares_of_this_attempt_nothing_is_masked(aggregator: Aggregator) -> None:
    """Neither when none were delivered, nor with those of an earlier attempt that still lie there."""
    old = aggregator.address(1, UPDATE, 0)
    boxes = aggregator.boxes(old, aggregator.keys(old, aggregator.manifest(UPDATE)))
    refused(aggregator.ask("s0", TrainMasked(old, 60.0, aggregator.model)), "AggregationError", "never delivered")
    aggregator.each(lambda name: Deliver(old, boxes[name]))
    new = aggregator.address(1, UPDATE, 1)
    aggregator.boxes(new, aggregator.keys(new, aggregator.manifest(UPDATE)))
    refused(aggregator.ask("s0", TrainMasked(new, 60.0, aggregator.model)), "AggregationError", "never delivered")


@pytest.mark.parametrize("delivered", ["none", "another silo's", "altered", "too few"])
def test_a_hospital_pays_for_nothing_that_it_could_not_mask(delivered: str, tmp_path: Path) -> None:
    """Else an aggregator that keeps shares back could spend the budget of a cohort on rounds that never leave it."""
    aggregator = Aggregator(tmp_path, distributed_plan())
    address = aggregator.address(1, UPDATE)
    boxes = aggregator.boxes(address, aggregator.keys(address, aggregator.manifest(UPDATE)))
    altered = msgspec.structs.replace(boxes["s0"][0], sealed=bytes(len(boxes["s0"][0].sealed)))
    wrong = {"another silo's": boxes["s1"], "altered": (altered, *boxes["s0"][1:]), "too few": boxes["s0"][:1]}
    if delivered != "none":
        aggregator.ask("s0", Deliver(address, wrong[delivered]))
    ledger, request = tmp_path / "state-s0" / "ledger.jsonl", TrainMasked(address, 60.0, aggregator.model)
    assert isinstance(aggregator.ask("s0", request), Refusal)
    assert not Ledger.open(ledger).entries
    aggregator.ask("s0", Deliver(address, boxes["s0"]))
    assert isinstance(aggregator.ask("s0", request), MaskedUpdate)
    assert len(Ledger.open(ledger).entries) == 1


def test_no_keys_are_made_for_an_update_beyond_the_plan_s_rounds(aggregator: Aggregator) -> None:
    """Without this an aggregator could go on for ever, each time without another hospital."""
    for number in (0, aggregator.plan.federation.rounds + 1, 10**9):
        answer = aggregator.ask("s0", Advertise(aggregator.address(number, UPDATE), aggregator.manifest(UPDATE)))
        refused(answer, "SiloError", "is not among them")


def test_models_fine_tuned_from_different_ones_do_not_meet_in_a_sum(tmp_path: Path) -> None:
    """One hospital fine-tunes the real model, the others one whose gradients are zero: their scores stay in one bin."""
    purpose = scores_purpose("personalised", "test")
    aggregator = Aggregator(tmp_path, plan_of(**{"evaluation.personalise": "fine_tune"}))
    dead = memoryview(bytes(len(aggregator.model)))
    for name in NAMES:
        model = aggregator.model if name == "s0" else dead
        assert isinstance(aggregator.ask(name, Personalise(aggregator.address(3, UPDATE), 60.0, model)), Done)
    for attempt, agreed in enumerate((None, aggregator.model, dead)):
        address = aggregator.address(3, purpose, attempt)
        manifest = propose(aggregator.plan, "job-1", aggregator.members, purpose, vector_size(aggregator.plan), agreed)
        found = aggregator.masked(address, aggregator.boxes(address, aggregator.keys(address, manifest)))
        sent = {name for name, one in found.items() if isinstance(one, MaskedScores)}
        assert sent == ({"s0"} if agreed is aggregator.model else set(NAMES[1:]) if agreed is dead else set())


def test_a_model_that_was_fine_tuned_is_not_called_one_of_another_origin(tmp_path: Path) -> None:
    aggregator = Aggregator(tmp_path, plan_of(**{"evaluation.personalise": "fine_tune"}))
    state = aggregator.nodes["s0"]._jobs["job-1"].state
    aggregator.ask("s0", Personalise(aggregator.address(3, UPDATE), 60.0, aggregator.model))
    first = state.origin()
    aggregator.ask("s0", Personalise(aggregator.address(3, UPDATE), 60.0, memoryview(bytes(len(aggregator.model)))))
    assert state.origin() == first == digest_bytes(aggregator.model)
