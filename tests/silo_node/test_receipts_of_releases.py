"""Every release makes a receipt, on disk before the bytes leave; the chain survives kills; nothing false is cosigned."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from protocol.canonical import canonical_json, digest_bytes
from protocol.evidence.checkpoint import Chain as End
from protocol.evidence.checkpoint import Checkpoint, Round, Site, check_cosignature, lines_of, tree_root
from protocol.evidence.receipt import ReleaseReceipt, read_chain
from protocol.identity import Identity
from protocol.messages import (
    Address,
    AskReceipts,
    Cosign,
    Cosigned,
    Describe,
    Receipts,
    Refusal,
    Release,
    Request,
    Score,
    Train,
    decode_release,
    encode,
)
from protocol.plan import Plan
from protocol.vectors import to_wire
from silo_node import chain as chain_module
from silo_node.chain import Chain
from silo_node.node import SiloNode
from silo_node.policy import Policy
from tests.conftest import PRIVATE, MakeStore, tiny_node, tiny_plan

JOB = "tiny-00000000"


class Asked:
    """A node and what it answered, for one plan."""

    def __init__(self, plan: Plan, node: SiloNode, state: Path) -> None:
        self.plan, self.node, self.path = plan, node, state / "jobs" / JOB / "receipts.jsonl"
        self.bytes: list[bytes] = []

    def at(self, number: int, attempt: int = 0) -> Address:
        return Address(JOB, self.plan.digest, number, attempt)

    def ask(self, request: Request) -> Release:
        self.bytes.append(self.node(encode(request)))
        return decode_release(self.bytes[-1])

    def describe(self) -> Release:
        return self.ask(Describe(self.at(0), self.plan.canonical))

    def train(self, number: int, size: float = 1.0) -> Release:
        return self.ask(Train(self.at(number), 60.0, to_wire(self.model(size))))

    def model(self, size: float = 1.0) -> np.ndarray[Any, Any]:
        from aggregator.history import History
        from aggregator.models import Models

        return Models(self.plan, History(None)).initial * np.float32(size)  # type: ignore[arg-type]

    def receipts(self) -> tuple[ReleaseReceipt, ...]:
        reply = self.ask(AskReceipts(self.at(self.plan.federation.rounds)))
        assert isinstance(reply, Receipts)
        self.bytes.pop()
        return read_chain(lines_of(reply.lines), "s0", self.node.public_key, JOB, self.plan.digest)[0]


@pytest.fixture
def silo(make_store: MakeStore, tmp_path: Path) -> Asked:
    return Asked(tiny_plan(), tiny_node("s0", make_store(), tmp_path / "state"), tmp_path / "state")


def test_every_release_and_every_refusal_makes_a_receipt_of_its_very_bytes(silo: Asked) -> None:
    silo.describe()
    silo.train(1)
    silo.ask(Score(silo.at(1), "federated", "validation", to_wire(silo.model())))
    assert isinstance(silo.train(99), Refusal)
    assert isinstance(silo.ask(Score(silo.at(3), "alone", "test")), Refusal)
    receipts = silo.receipts()
    assert [one.kind for one in receipts] == ["description", "update", "scores", "refusal", "refusal"]
    assert [one.commitment for one in receipts] == [digest_bytes(data) for data in silo.bytes]
    assert [one.round for one in receipts] == [0, 1, 1, 99, 3]
    given = digest_bytes(to_wire(silo.model()))
    assert [one.model for one in receipts] == ["", given, given, "", ""]
    assert [bool(one.metrics) for one in receipts] == [False, False, True, False, False]


def test_handing_over_receipts_makes_none(silo: Asked) -> None:
    silo.describe()
    assert silo.receipts() == silo.receipts()


def test_the_receipt_is_on_disk_before_the_bytes_leave(silo: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    silo.describe()
    before = silo.path.read_bytes()
    synced: list[bytes] = []
    fsync = os.fsync
    monkeypatch.setattr(chain_module.os, "fsync", lambda fd: (fsync(fd), synced.append(silo.path.read_bytes()))[0])
    silo.train(1)
    assert synced[-1].startswith(before)
    assert synced[-1].count(b"\n") == before.count(b"\n") + 1
    assert digest_bytes(silo.bytes[-1]).encode() in _payloads(synced[-1])[-1]


def test_what_has_no_receipt_does_not_leave(silo: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    silo.describe()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(chain_module.os, "fsync", full)
    answer = silo.train(1)
    assert isinstance(answer, Refusal)
    assert "No space left" in answer.reason
    monkeypatch.undo()
    assert not isinstance(silo.train(1), Refusal)
    kinds = [one.kind for one in silo.receipts()]
    assert kinds[0] == "description"
    assert kinds[-1] == "update"


def test_asked_again_it_makes_a_new_receipt(silo: Asked) -> None:
    silo.describe()
    for _ in range(2):
        silo.train(1)
    receipts = silo.receipts()
    assert [one.kind for one in receipts] == ["description", "update", "update"]
    assert [one.commitment for one in receipts] == [digest_bytes(data) for data in silo.bytes]


@pytest.mark.parametrize("cut", [1, 5, 300])
def test_a_last_line_that_a_kill_cut_is_taken_off_and_the_chain_goes_on(silo: Asked, cut: int, make_store: MakeStore) -> None:
    silo.describe()
    silo.train(1)
    data = silo.path.read_bytes()
    silo.path.write_bytes(data[:-cut])
    from silo_node.cohort import CohortStore

    store = CohortStore.open(silo.path.parents[3] / "store")
    silo.node = tiny_node("s0", store, silo.path.parents[2])  # started again
    silo.train(1)
    assert [one.kind for one in silo.receipts()] == ["description", "update"]


def test_two_processes_of_one_silo_write_one_chain(tmp_path: Path) -> None:
    identity = Identity.open(tmp_path / "key")
    one, other = Chain(tmp_path / "chain", identity), Chain(tmp_path / "chain", identity)
    receipt = ReleaseReceipt("s0", 0, "", JOB, "p", "local", 1, 0, "update", "update", "", "sha256:00")
    for chain in (one, other, other, one):
        chain.append(receipt)
    receipts, _ = read_chain(one.lines(), "s0", identity.public_key, JOB, "p")
    assert [each.seq for each in receipts] == [0, 1, 2, 3]


def test_nothing_is_kept_of_a_job_that_was_never_described(silo: Asked) -> None:
    assert isinstance(silo.train(1), Refusal)
    assert isinstance(silo.ask(Train(Address("../../x", "sha256:00", 1, 0), 1.0, to_wire(silo.model()))), Refusal)
    assert not silo.path.exists()


def test_a_plan_that_the_hospital_refused_leaves_the_refusal_signed(make_store: MakeStore, tmp_path: Path) -> None:
    node = tiny_node("s0", make_store(), tmp_path / "state", Policy(allow_without_privacy=False, min_patients=1))
    silo = Asked(tiny_plan(), node, tmp_path / "state")
    assert isinstance(silo.describe(), Refusal)
    assert [one.kind for one in silo.receipts()] == ["refusal"]


def test_a_private_plans_receipts_hold_the_charge_and_no_time_and_no_count(make_store: MakeStore, tmp_path: Path) -> None:
    silo = Asked(tiny_plan(**PRIVATE), tiny_node("s0", make_store(), tmp_path / "state"), tmp_path / "state")
    silo.describe()
    silo.train(1)
    silo.ask(Score(silo.at(1), "federated", "validation", to_wire(silo.model())))
    described, update, scores = silo.receipts()
    assert described.charged is None
    assert update.charged is not None
    assert (update.charged.release, update.charged.part) == ("round/1", "train")
    assert update.charged.event["type"] == "self_composed"
    assert scores.charged is not None
    assert scores.charged.event["event"] == {"type": "discrete_laplace", "epsilon": 2}
    assert update.ledger is not None
    assert scores.ledger is not None
    assert (update.ledger.entries, scores.ledger.entries) == (1, 2)
    numbers = {name for name in ReleaseReceipt.__struct_fields__ if name in ("seq", "round", "attempt")}
    values = [value for one in silo.receipts() for name, value in msgspec.structs.asdict(one).items() if name not in numbers]
    assert not [value for value in values if isinstance(value, int | float)]  # no time, no count


# --------------------------------------------------------------------------------------------------------------- cosigning


def checkpoint(silo: Asked, **changes: Any) -> Checkpoint:
    reply = silo.ask(AskReceipts(silo.at(3)))
    assert isinstance(reply, Receipts)
    lines = lines_of(reply.lines)
    first, given = digest_bytes(to_wire(silo.model())), digest_bytes(to_wire(silo.model(2.0)))
    whole = Checkpoint(
        job=JOB,
        plan_digest=silo.plan.digest,
        roster=(Site("s0", silo.node.public_key.hex()),),
        rounds=(Round(1, 0, ("s0",), ("s0",), first, "sha256:b"), Round(2, 0, (), (), "sha256:b", "sha256:c")),
        scored={},
        model=given,
        chains=(End("s0", len(lines), digest_bytes(lines[-1])),),
        absent={},
        receipts=len(lines),
        root=tree_root({"s0": lines}),
    )
    return msgspec.structs.replace(whole, **changes)


def cosign(silo: Asked, wanted: Checkpoint) -> tuple[Release, bytes]:
    data = canonical_json(msgspec.to_builtins(wanted))
    return silo.ask(Cosign(silo.at(3), data)), data


@pytest.fixture
def done(silo: Asked) -> Asked:
    silo.describe()
    silo.train(1)
    silo.ask(Score(silo.at(2), "federated", "test", to_wire(silo.model(2.0))))
    return silo


def test_a_checkpoint_that_holds_its_chain_is_cosigned_and_the_job_is_closed(done: Asked) -> None:
    answer, data = cosign(done, checkpoint(done))
    assert isinstance(answer, Cosigned)
    word = check_cosignature(answer.cosignature, data, "s0", done.node.public_key)
    assert word.model == "as scored"
    refused = done.train(2)
    assert isinstance(refused, Refusal)
    assert "closed" in refused.reason
    assert not isinstance(done.describe(), Refusal)  # an aggregator that was killed asks again
    again, _ = cosign(done, checkpoint(done))
    assert isinstance(again, Cosigned)


def test_a_silo_that_never_scored_says_that_it_does_not_know_the_final_model(silo: Asked) -> None:
    silo.describe()
    silo.train(1)
    answer, data = cosign(silo, checkpoint(silo))
    assert isinstance(answer, Cosigned)
    assert check_cosignature(answer.cosignature, data, "s0", silo.node.public_key).model == "not seen"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"job": "tiny-11111111"}, "another job or plan"),
        ({"plan_digest": "sha256:00"}, "another job or plan"),
        ({"roster": (Site("s0", "00" * 32),)}, "does not hold this silo with its key"),
        ({"chains": ()}, "leaves the receipts of s0 out"),
        ({"chains": (End("s0", 2, "sha256:aa"),)}, "ends the chain of s0 after 2 receipts, but it has 3"),
        ({"chains": (End("s0", 3, "sha256:aa"),)}, "with another end"),
        ({"model": "sha256:aa"}, "was given to score another model"),
        ({"rounds": ()}, "trained from another model in round 1"),
        (
            {"rounds": (Round(1, 0, (), (), "sha256:aa", "sha256:b"), Round(2, 0, (), (), "sha256:b", "sha256:c"))},
            "trained from",
        ),
        ({"rounds": (Round(2, 0, (), (), "sha256:b", "sha256:c"),)}, "one is missing"),
    ],
)
def test_what_is_not_so_is_not_cosigned(done: Asked, changes: dict[str, Any], reason: str) -> None:
    answer, _ = cosign(done, checkpoint(done, **changes))
    assert isinstance(answer, Refusal)
    assert answer.error == "EvidenceError"
    assert reason in answer.reason
    assert not isinstance(done.train(2), Refusal)  # and the job is not closed by it


def test_a_round_it_sent_no_update_for_is_not_cosigned(done: Asked) -> None:
    first = digest_bytes(to_wire(done.model()))
    rounds = (Round(1, 0, ("s0",), ("s0",), first, "sha256:b"), Round(2, 0, ("s0",), ("s0",), "sha256:b", "sha256:c"))
    answer, _ = cosign(done, checkpoint(done, rounds=rounds))
    assert isinstance(answer, Refusal)
    assert "sent no update for it" in answer.reason


def test_a_roster_that_is_not_the_pinned_one_is_not_cosigned(done: Asked) -> None:
    from protocol.secure_aggregation import Member

    done.node.pin([Member("s0", done.node.public_key), Member("s1", bytes(32))])
    answer, _ = cosign(done, checkpoint(done))
    assert isinstance(answer, Refusal)
    assert "pinned" in answer.reason


def _payloads(data: bytes) -> list[bytes]:
    import base64

    return [base64.b64decode(json.loads(line)["payload"]) for line in data.split(b"\n")[:-1]]
