"""A silo node answers nothing of a plan that is not approved, and stops at the next request once it no longer is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from protocol.canonical import canonical_json, digest_bytes
from protocol.errors import ApprovalError
from protocol.evidence.checkpoint import Chain, Checkpoint, Round, Site, lines_of, tree_root
from protocol.evidence.receipt import read_chain
from protocol.governance import standing
from protocol.governance.decisions import Decision, Verdict, decide
from protocol.identity import Identity
from protocol.messages import (
    Address,
    AskReceipts,
    Cosign,
    Cosigned,
    Describe,
    Description,
    Receipts,
    Refusal,
    Score,
    Train,
    Update,
    decode_release,
    encode,
)
from protocol.vectors import to_wire
from silo_node.governance.approvals import ApprovedByOfficers
from silo_node.governance.log import DecisionLog
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


def test_an_approved_digest_on_another_plan_is_refused_and_nothing_of_it_is_kept(
    node: SiloNode, approvals: Switch, tmp_path: Path
) -> None:
    approvals.approved[PLAN.digest] = "sha256:" + "1" * 64
    other = tiny_plan(**{"federation.rounds": 4})
    found = decode_release(node(encode(Describe(address(), other.canonical))))
    assert isinstance(found, Refusal)
    assert "digest is not the one" in found.reason
    assert not list((tmp_path / "state").rglob("plan.json"))


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


def receipts(node: SiloNode, tmp_path: Path, digest: str = PLAN.digest) -> list[tuple[str, str]]:
    """Kind and approval of each receipt."""
    (path,) = (tmp_path / "state").rglob("receipts.jsonl")
    found, _ = read_chain(tuple(path.read_bytes().splitlines()), "north", node.public_key, "job", digest)
    return [(one.kind, one.approval) for one in found]


def test_receipts_name_the_approval_and_its_absence(node: SiloNode, approvals: Switch, tmp_path: Path) -> None:
    approvals.approved[PLAN.digest] = "sha256:" + "1" * 64
    describe(node)
    approvals.approved.clear()
    assert isinstance(describe(node), Refusal)
    assert receipts(node, tmp_path) == [("description", "sha256:" + "1" * 64), ("refusal", "")]


def test_a_plan_that_was_never_approved_is_refused_under_a_receipt_that_can_be_collected(
    node: SiloNode, tmp_path: Path
) -> None:
    assert isinstance(describe(node), Refusal)
    assert isinstance(describe(node), Refusal)
    assert receipts(node, tmp_path) == [("refusal", ""), ("refusal", "")]

    def cosigned(**changed: object) -> object:
        """What the node says to a checkpoint of its chain as it is now."""
        reply = decode_release(node(encode(AskReceipts(address(3)))))
        assert isinstance(reply, Receipts)
        lines = lines_of(reply.lines)
        checkpoint = Checkpoint(
            job="job",
            plan_digest=PLAN.digest,
            roster=(Site("north", node.public_key.hex()),),
            rounds=(Round(1, 0, (), (), "sha256:a", "sha256:b"),),
            scored={},
            model="sha256:b",
            chains=(Chain("north", len(lines), digest_bytes(lines[-1])),),
            absent={},
            receipts=len(lines),
            root=tree_root({"north": lines}),
        )
        signed = canonical_json(msgspec.to_builtins(msgspec.structs.replace(checkpoint, **changed)))
        return decode_release(node(encode(Cosign(address(3), signed))))

    took_part = (Round(1, 0, ("north",), ("north",), "sha256:a", "sha256:b"),)
    for lie in ({"rounds": took_part}, {"plan_digest": "sha256:" + "0" * 64}, {"chains": (Chain("north", 0, ""),)}):
        assert isinstance(cosigned(**lie), Refusal)
    assert isinstance(cosigned(), Cosigned)


def test_an_invented_job_leaves_no_file_and_many_refused_ones_only_so_many(
    node: SiloNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("silo_node.witness._MOST_REFUSED", 3)
    other = tiny_plan(**{"federation.rounds": 4})
    node(encode(Describe(address(), other.canonical)))  # not the plan whose digest it names
    node(encode(Describe(address(), b"{}")))
    node(encode(Train(address(1), 60.0, b"")))
    assert list((tmp_path / "state").rglob("receipts.jsonl")) == []
    for number in range(6):
        found = decode_release(node(encode(Describe(Address(f"job-{number}", PLAN.digest, 0, 0), PLAN.canonical))))
        assert isinstance(found, Refusal)
    assert len(list((tmp_path / "state").rglob("receipts.jsonl"))) == 3


class Officers:
    """The hospital's own officers and their log behind a node: two must approve, for thirty days."""

    def __init__(self, folder: Path) -> None:
        self.keys = {name: Identity.open(folder / f"{name}.key") for name in ("ann", "bob")}
        self.clock = datetime(2026, 11, 1, tzinfo=UTC)
        self.path = folder / "governance" / "decisions.jsonl"
        officers = standing.Officers({name: key.public_key for name, key in self.keys.items()}, 2)
        log = DecisionLog(self.path, folder / "decisions.json")
        self.approvals = ApprovedByOfficers("north", officers, log, lambda: self.clock)

    def say(self, officer: str, verdict: Verdict, digest: str = PLAN.digest) -> None:
        def make(previous: str) -> Decision:
            ends = self.clock + timedelta(days=30) if verdict == "approve" else None
            words = {"hospital": "north", "plan_digest": digest, "reason": "said so", "previous": previous}
            return decide(officer, self.keys[officer], verdict, at=self.clock, expires=ends, **words)

        self.approvals.log.add(make)

    def approve(self, digest: str = PLAN.digest) -> None:
        for name in self.keys:
            self.say(name, "approve", digest)


@pytest.fixture
def officers(tmp_path: Path) -> Officers:
    return Officers(tmp_path)


@pytest.fixture
def officers_node(make_store: MakeStore, tmp_path: Path, officers: Officers) -> SiloNode:
    store, state, ledger = make_store("north"), tmp_path / "state", tmp_path / "ledger.jsonl"
    return SiloNode("north", store, state, policy=GENEROUS, ledger=ledger, approvals=officers.approvals, device="cpu")


def pending(officers: Officers) -> None:
    officers.say("ann", "approve")  # one of two


def rejected(officers: Officers) -> None:
    officers.approve()
    officers.say("bob", "reject")


def expired(officers: Officers) -> None:
    officers.approve()
    officers.clock += timedelta(days=30)


def withdrawn(officers: Officers) -> None:
    officers.approve()
    officers.say("ann", "withdraw")


def altered(officers: Officers) -> None:
    officers.approve(ALTERED.digest)  # what they read; the plan that runs has one letter more


ALTERED = tiny_plan(title="one letter more")
SAYS = {
    pending: "not approved it yet",
    rejected: "rejected it",
    expired: "has ended",
    withdrawn: "withdrew the approval",
    altered: "not approved it yet",
}


@pytest.mark.parametrize("how", SAYS)
def test_every_request_of_a_plan_that_does_not_stand_approved_is_refused_under_a_receipt(
    officers_node: SiloNode, officers: Officers, tmp_path: Path, how: Callable[[Officers], None]
) -> None:
    how(officers)
    for request in (Describe(address(), PLAN.canonical), Train(address(1), 60.0, b""), Score(address(1), "a", "test", b"")):
        found = decode_release(officers_node(encode(request)))
        assert isinstance(found, Refusal)
        assert found.error == "ApprovalError"
        assert SAYS[how] in found.reason
    assert receipts(officers_node, tmp_path) == [("refusal", "")] * 3


@pytest.mark.parametrize("how", [rejected, expired, withdrawn])
def test_a_round_is_refused_once_the_approval_of_a_running_job_is_over(
    officers_node: SiloNode, officers: Officers, tmp_path: Path, how: Callable[[Officers], None]
) -> None:
    officers.approve()
    assert isinstance(describe(officers_node), Description)
    vector = to_wire(officers_node._jobs["job"].model.shared())

    def train(number: int) -> object:
        return decode_release(officers_node(encode(Train(address(number), 60.0, vector))))

    assert isinstance(train(1), Update)
    how(officers)
    found = train(2)
    assert isinstance(found, Refusal)
    assert (found.error, SAYS[how] in found.reason) == ("ApprovalError", True)
    kinds = receipts(officers_node, tmp_path)
    assert [kind for kind, _ in kinds] == ["description", "update", "refusal"]
    assert [bool(approval) for _, approval in kinds] == [True, True, False]


@pytest.mark.parametrize("digest", ["", "sha256:" + "0" * 64, ALTERED.digest])
def test_a_round_that_names_no_digest_or_another_is_refused_though_the_plan_is_approved(
    officers_node: SiloNode, officers: Officers, digest: str
) -> None:
    officers.approve()
    officers.approve(ALTERED.digest)
    assert isinstance(describe(officers_node), Description)
    vector = to_wire(officers_node._jobs["job"].model.shared())
    found = decode_release(officers_node(encode(Train(address(1, digest), 60.0, vector))))
    assert isinstance(found, Refusal)
    assert found.error == ("SiloError" if digest == ALTERED.digest else "ApprovalError")


def test_a_plan_altered_on_disk_after_it_was_described_trains_nothing(
    officers_node: SiloNode, officers: Officers, tmp_path: Path
) -> None:
    officers.approve()
    assert isinstance(describe(officers_node), Description)
    vector = to_wire(officers_node._jobs["job"].model.shared())
    officers_node._jobs.clear()  # as after a restart
    (tmp_path / "state" / "jobs" / "job" / "plan.json").write_bytes(ALTERED.canonical)
    assert isinstance(decode_release(officers_node(encode(Train(address(1), 60.0, vector)))), Refusal)
