"""A plan's way from a researcher to the officers of a hospital and back, over a share, as both would go it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

pytest.importorskip("syft_rds")

from protocol.errors import ApprovalError, InputError
from protocol.governance.researcher import Researcher
from protocol.identity import Identity
from protocol.plan import Plan, parse_plan, plan_template
from silo_node.governance.office import Desk, Office
from silo_node.governance.words import plain_words
from silo_node.policy import Policy

NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)


def a_plan(rounds: int = 5) -> Plan:
    plan = parse_plan(plan_template())
    return plan.model_copy(update={"federation": plan.federation.model_copy(update={"rounds": rounds})})


class Story:
    """Hospital north with officers ann and bob, and the researcher alice."""

    def __init__(self, folder: Path, needed: int = 1) -> None:
        self.folder, self.share, self.clock = folder, folder / "share", NOW
        self.keys = {name: Identity.open(folder / f"{name}.key") for name in ("north", "ann", "bob", "alice", "mallory")}
        (folder / "home").mkdir()
        self.policy = Policy(
            approval="officers",
            officers={name: self.keys[name].public_key.hex() for name in ("ann", "bob")},
            officers_needed=needed,
            researchers={"alice": self.keys["alice"].public_key.hex()},
        )

    @property
    def office(self) -> Office:
        desk = Desk("north", "demo", self.folder / "governance", self.folder / "home", self.share)
        return Office(self.policy, desk, now=lambda: self.clock)

    def researcher(self, name: str = "alice", key: str | None = None) -> Researcher:
        hospitals = {"north": self.keys["north"].public_key}
        return Researcher(name, "demo", self.keys[key or name], self.folder / f"desk-{name}", self.share, hospitals)

    def sync(self) -> tuple[str, ...]:
        return self.office.sync(self.keys["north"])

    def meet(self) -> None:
        self.sync()
        self.researcher().cohorts()
        assert self.researcher().ask_for_contact() == ("north",)
        self.sync()

    def say(self, verdict: str, officer: str = "ann", plan: Plan | None = None) -> str:
        request = self.office.find((plan or a_plan()).digest)
        return self.office.decide(request, verdict, officer, self.keys[officer], f"{officer} says so").status  # type: ignore[arg-type]


@pytest.fixture
def story(tmp_path: Path) -> Story:
    story = Story(tmp_path)
    story.meet()
    return story


def test_a_plan_is_handed_over_reviewed_approved_and_answered(story: Story) -> None:
    plan = a_plan()
    story.researcher().submit(plan, "north", cohort="skin", note="please look at the split")
    assert story.sync() == ()
    ((request, standing),) = story.office.requests()
    assert (request.digest, standing.status) == (plan.digest, "pending")
    assert request.handed_over.cover.note == "please look at the split"
    with pytest.raises(ApprovalError):
        story.office.approvals.require(plan.digest)
    assert story.say("approve") == "approved"
    assert story.office.approvals.require(plan.digest).startswith("sha256:")
    story.sync()
    (answer,) = story.researcher().answers()
    assert (answer.status, "approved by ann" in answer.reason) == ("approved", True)


def test_two_officers_must_approve_where_two_are_needed(tmp_path: Path) -> None:
    story = Story(tmp_path, needed=2)
    story.meet()
    story.researcher().submit(a_plan(), "north")
    story.sync()
    assert story.say("approve") == "pending"
    assert story.say("approve", "bob") == "approved"
    assert story.say("withdraw", "bob") == "withdrawn"


def test_an_approval_is_of_the_plan_that_was_read_not_of_its_job(story: Story) -> None:
    story.researcher().submit(a_plan(), "north")
    story.sync()
    story.say("approve")
    changed = a_plan(rounds=500)
    with pytest.raises(ApprovalError):
        story.office.approvals.require(changed.digest)
    story.researcher().submit(changed, "north")
    story.sync()
    request = story.office.find(changed.digest)
    before, changes = story.office.since_last_approval(request) or ("", ())
    assert before == a_plan().digest
    assert [(one.key, one.before, one.after) for one in changes] == [("federation.rounds", "5", "500")]


def test_a_rejection_comes_back_with_its_reason(story: Story) -> None:
    story.researcher().submit(a_plan(), "north")
    story.sync()
    assert story.say("reject", "bob") == "rejected"
    story.sync()
    (answer,) = story.researcher().answers()
    assert answer.status == "rejected"
    assert "bob says so" in answer.reason


def test_nobody_decides_with_a_key_that_is_not_the_officers(story: Story) -> None:
    story.researcher().submit(a_plan(), "north")
    story.sync()
    request = story.office.find(a_plan().digest)
    for officer, key in (("ann", "mallory"), ("mallory", "mallory"), ("ann", "bob")):
        with pytest.raises(ApprovalError, match="no data officer"):
            story.office.decide(request, "approve", officer, story.keys[key], "")


def test_someone_the_policy_does_not_name_is_not_let_in(story: Story) -> None:
    mallory = story.researcher("mallory")
    mallory.cohorts()
    mallory.ask_for_contact()
    (problem,) = story.sync()
    assert "mallory@demo.invalid" in problem
    assert "not pinned" in problem


def test_a_cover_that_another_signed_is_refused(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    # Mallory has alice's PySyft key, and with it her place on the share, but not the identity that the policy names.
    monkeypatch.setattr("protocol.governance.researcher.introduce", lambda *_: None)
    story.researcher("alice", key="mallory").submit(a_plan(), "north")
    (problem,) = story.sync()
    assert "signature" in problem
    assert story.office.requests() == ()


def test_an_approval_ends_by_itself(story: Story) -> None:
    story.researcher().submit(a_plan(), "north")
    story.sync()
    story.say("approve")
    story.clock += timedelta(days=story.policy.approval_days)
    with pytest.raises(ApprovalError, match="has ended"):
        story.office.approvals.require(a_plan().digest)


def test_a_plan_that_nobody_handed_over_is_not_found(story: Story) -> None:
    with pytest.raises(InputError, match="fedward silo requests"):
        story.office.find("sha256:" + "0" * 64)


def test_results_come_back_to_the_researcher(story: Story) -> None:
    story.researcher().submit(a_plan(), "north")
    story.sync()
    story.say("approve")
    story.sync()
    report = story.folder / "report.json"
    report.write_text(json.dumps({"auroc": 0.8}))
    story.office.return_results(story.keys["north"], story.office.find(a_plan().digest), [report])
    (answer,) = story.researcher().answers()
    assert [path.name for path in answer.results] == ["report.json"]


def test_what_an_officer_reads_says_what_leaves_and_what_it_costs() -> None:
    plan = parse_plan(plan_template())
    said = {line.question: line.answer for line in plain_words(plan)}
    assert len(said) >= 7
    assert "epsilon" in said["What does it cost a patient?"]
    assert "masked" in said["What leaves each round?"]
