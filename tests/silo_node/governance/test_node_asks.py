"""A silo node answers nothing of a plan that is not approved, and stops at the next request once it no longer is."""

from __future__ import annotations

from pathlib import Path

import pytest

from protocol.errors import ApprovalError
from protocol.evidence.receipt import read_chain
from protocol.messages import Address, Describe, Description, Refusal, Train, decode_release, encode
from protocol.vectors import to_wire
from silo_node.node import SiloNode
from tests.conftest import GENEROUS, MakeStore, tiny_plan


class Switch:
    """Approvals that a test can change."""

    def __init__(self) -> None:
        self.approved: dict[str, str] = {}
        self.why = "pending"

    def require(self, plan_digest: str) -> str:
        if plan_digest not in self.approved:
            raise ApprovalError(f"the plan is not approved at this hospital: {self.why}")
        return self.approved[plan_digest]


PLAN = tiny_plan()


def address(number: int = 0, digest: str = PLAN.digest) -> Address:
    return Address("job", digest, number, 0)


@pytest.fixture
def approvals() -> Switch:
    return Switch()


@pytest.fixture
def node(make_store: MakeStore, tmp_path: Path, approvals: Switch) -> SiloNode:
    return SiloNode(
        "north",
        make_store("north"),
        tmp_path / "state",
        policy=GENEROUS,
        ledger=tmp_path / "ledger.jsonl",
        approvals=approvals,
        device="cpu",
    )


def describe(node: SiloNode, digest: str = PLAN.digest) -> Description | Refusal:
    found = decode_release(node(encode(Describe(address(digest=digest), PLAN.canonical))))
    assert isinstance(found, Description | Refusal)
    return found


def test_nothing_of_an_unapproved_plan_is_answered(node: SiloNode) -> None:
    found = describe(node)
    assert isinstance(found, Refusal)
    assert (found.error, "pending" in found.reason) == ("ApprovalError", True)


@pytest.mark.parametrize("digest", ["", "sha256:" + "0" * 64])
def test_a_request_without_the_digest_of_an_approved_plan_is_refused(node: SiloNode, approvals: Switch, digest: str) -> None:
    approvals.approved[PLAN.digest] = "sha256:" + "1" * 64
    assert isinstance(describe(node, digest), Refusal)


def test_an_approved_digest_on_another_plan_is_refused(node: SiloNode, approvals: Switch) -> None:
    approvals.approved[PLAN.digest] = "sha256:" + "1" * 64
    other = tiny_plan(**{"federation.rounds": 4})
    found = decode_release(node(encode(Describe(address(), other.canonical))))
    assert isinstance(found, Refusal)


def test_a_withdrawal_stops_the_next_round_and_an_approval_lets_it_go_on(node: SiloNode, approvals: Switch) -> None:
    approvals.approved[PLAN.digest] = "sha256:" + "1" * 64
    assert isinstance(describe(node), Description)
    vector = node._jobs["job"].model.shared()

    def train(number: int) -> str:
        return type(decode_release(node(encode(Train(address(number), 60.0, to_wire(vector)))))).__name__

    assert train(1) == "Update"
    approvals.approved.clear()
    approvals.why = "withdrawn"
    assert train(2) == "Refusal"
    approvals.approved[PLAN.digest] = "sha256:" + "2" * 64
    assert train(2) == "Update"


def test_what_is_withdrawn_while_the_silo_trains_does_not_leave(node: SiloNode, approvals: Switch) -> None:
    approvals.approved[PLAN.digest] = "sha256:" + "1" * 64
    describe(node)
    job = node._jobs["job"]
    vector, real = job.model.shared(), job.trainer.round  # type: ignore[attr-defined]

    def withdrawn_meanwhile(*arguments: object) -> object:
        approvals.approved.clear()
        return real(*arguments)

    job.trainer.round = withdrawn_meanwhile  # type: ignore[attr-defined]
    found = decode_release(node(encode(Train(address(1), 60.0, to_wire(vector)))))
    assert isinstance(found, Refusal)
    assert found.error == "ApprovalError"


def test_receipts_name_the_approval_and_its_absence(node: SiloNode, approvals: Switch, tmp_path: Path) -> None:
    approvals.approved[PLAN.digest] = "sha256:" + "1" * 64
    describe(node)
    approvals.approved.clear()
    assert isinstance(describe(node), Refusal)
    (path,) = (tmp_path / "state").rglob("receipts.jsonl")
    receipts, _ = read_chain(tuple(path.read_bytes().splitlines()), "north", node.public_key, "job", PLAN.digest)
    assert [(one.kind, one.approval) for one in receipts] == [("description", "sha256:" + "1" * 64), ("refusal", "")]
