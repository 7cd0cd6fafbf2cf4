"""A plan's way from a researcher to the officers of a hospital and back, over a share, as both would go it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

pytest.importorskip("syft_rds")

from protocol.errors import ApprovalError, InputError, TransportError, TrustError
from protocol.governance.bounds import Bound
from protocol.governance.pysyft.share import Share
from protocol.governance.reports import FILES, folder_of, put_report
from protocol.governance.researcher import Researcher
from protocol.governance.submission import pack
from protocol.identity import Identity
from protocol.plan import Plan, parse_plan, plan_template
from silo_node.governance.office import Desk, Office
from silo_node.governance.room import KEPT, KEPT_IN_ALL, UNDECIDED, UNDECIDED_IN_ALL, Room
from silo_node.governance.words import plain_words
from silo_node.policy import Policy
from silo_node.service.tidy import remove

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
            custom_code="approved",
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


def test_a_link_in_place_of_the_report_sends_no_file_of_the_hospital_out(story: Story) -> None:
    story.researcher().submit(a_plan(), "north")
    story.sync()
    story.say("approve")
    (story.folder / "secret").write_text("the hospital's key")
    folder = folder_of(Share(story.share), "north@demo.invalid", a_plan().digest)
    folder.mkdir(parents=True)
    for name in ("report.json", "report.html"):
        (folder / name).symlink_to(story.folder / "secret")
    assert any("could not be sent" in problem for problem in story.sync())
    (answer,) = story.researcher().answers()
    assert (answer.status, answer.results) == ("approved", ())


def test_an_introduction_that_is_junk_holds_up_nobody_else(story: Story) -> None:
    carol = story.keys["mallory"].public_key.hex()
    story.policy = story.policy.model_copy(update={"researchers": {**story.policy.researchers, "carol": carol}})
    junk = story.share / "box" / "carol@demo.invalid" / "pin.json"
    junk.parent.mkdir(parents=True)
    junk.write_bytes(b"{}")
    story.researcher().submit(a_plan(), "north")
    (problem,) = story.sync()
    assert "carol@demo.invalid" in problem
    assert len(story.office.requests()) == 1


def test_a_request_that_cannot_be_read_holds_up_no_other(story: Story) -> None:
    story.researcher().submit(a_plan(), "north")
    story.researcher().submit(a_plan(rounds=7), "north")
    story.sync()
    (story.folder / "governance" / "requests" / a_plan().digest.removeprefix("sha256:") / "plan.json").write_bytes(b"{}")
    assert [one.digest for one, _ in story.office.requests()] == [a_plan(rounds=7).digest]


def test_a_job_named_like_another_plan_does_not_take_its_place(story: Story) -> None:
    story.researcher().submit(a_plan(), "north")
    story.sync()
    book = story.office._book
    files = pack(
        a_plan(rounds=7),
        story.keys["alice"],
        researcher="alice",
        hospital="north",
        cohort="",
        note="",
        at="2026-11-21T09:00:00Z",
    )
    book.take_up(a_plan().digest, "alice@demo.invalid", files)
    assert story.office.find(a_plan().digest).digest == a_plan().digest


def test_the_answer_goes_to_the_job_of_the_one_who_is_answered(story: Story) -> None:
    carol = story.keys["mallory"]
    keys = {**story.policy.researchers, "aaron": carol.public_key.hex()}  # PySyft finds the first of two jobs of one name
    story.policy = story.policy.model_copy(update={"researchers": keys})
    aaron = story.researcher("aaron", key="mallory")
    aaron.cohorts()
    aaron.ask_for_contact()
    story.sync()
    mine, theirs = a_plan(), a_plan(rounds=7)
    story.researcher().submit(mine, "north")
    files = pack(theirs, carol, researcher="aaron", hospital="north", cohort="", note="", at="2026-11-21T09:00:00Z")
    name = f"{mine.name}-{mine.digest.removeprefix('sha256:')[:12]}"
    aaron._plane().submit("north@demo.invalid", name, files)
    story.sync()
    assert story.say("approve", plan=mine) == "approved"
    assert story.sync() == ()
    (to_alice,), (to_aaron,) = story.researcher().answers(), story.researcher("aaron", key="mallory").answers()
    assert (to_alice.status, to_aaron.status) == ("approved", "pending")


def test_nothing_is_encrypted_for_a_key_that_was_put_in_a_researchers_place_and_all_is_sent_once_it_is_put_right(
    story: Story,
) -> None:
    story.researcher().submit(a_plan(), "north")
    story.sync()
    mallory = story.researcher("mallory")
    mallory.cohorts()
    mallory.ask_for_contact()
    boxes, north = story.share / "box", "north@demo.invalid"
    path = boxes / north / "peers.json"
    right = json.loads(path.read_bytes())
    theirs = json.loads((boxes / "mallory@demo.invalid" / "bundles" / f"{north}.json").read_bytes())
    wrong = {**right, "alice@demo.invalid": right["alice@demo.invalid"] | theirs}
    path.write_text(json.dumps(wrong))
    outbox = story.share / "p2p" / north / "outbox" / "alice@demo.invalid"
    before = sorted(outbox.iterdir())
    story.say("approve")
    assert any("alice@demo.invalid" in problem and "not sent" in problem for problem in story.sync())
    assert sorted(outbox.iterdir()) == before
    path.write_text(json.dumps(right))
    assert not any("alice" in problem for problem in story.sync())
    (answer,) = story.researcher().answers()
    assert (answer.status, "approved by ann" in answer.reason) == ("approved", True)
    assert not [one for one in (story.folder / "governance" / "pysyft" / "withheld").rglob("*") if one.is_file()]


@pytest.mark.parametrize("junk", [b"", b"junk", b"[]", b'{"alice@demo.invalid": 1}', b"[" * 100_000, b'{"a@b": {"state": []}}'])
def test_junk_in_the_hospitals_own_list_of_parties_is_put_aside_and_nobody_is_lost(story: Story, junk: bytes) -> None:
    place = story.share / "box" / "north@demo.invalid" / "peers.json"
    place.write_bytes(junk)
    story.researcher().submit(a_plan(), "north")
    (problem,) = story.sync()
    assert "box/north@demo.invalid/peers.json" in problem
    assert "put aside as peers.json.unreadable" in problem
    assert place.with_name("peers.json.unreadable").read_bytes() == junk
    assert len(story.office.requests()) == 1
    assert story.sync() == ()


def test_junk_in_the_researchers_own_list_says_which_file_and_what_happens(story: Story) -> None:
    place = story.share / "box" / "alice@demo.invalid" / "peers.json"
    researcher = story.researcher()
    plane = researcher._plane()
    place.write_bytes(b"junk")  # while a command runs
    with pytest.raises(TrustError, match=r"box/alice@demo\.invalid/peers\.json .* Run the command again"):
        plane.sync()
    researcher.cohorts()
    researcher.ask_for_contact()
    researcher.submit(a_plan(), "north")
    assert story.sync() == ()
    assert len(story.office.requests()) == 1


@pytest.mark.parametrize("whose", ["alice", "north"])
def test_junk_in_the_place_of_a_version_ends_no_look_at_the_share(story: Story, whose: str) -> None:
    story.researcher().submit(a_plan(), "north")
    (story.share / "box" / f"{whose}@demo.invalid" / "version.json").write_bytes(b"junk")
    story.sync()
    story.researcher().submit(a_plan(rounds=7), "north")
    story.sync()
    assert len(story.office.requests()) == 2


def test_the_report_goes_to_the_one_whose_plan_the_officers_read_and_not_to_who_copied_it(story: Story) -> None:
    keys = {**story.policy.researchers, "aaron": story.keys["mallory"].public_key.hex()}
    story.policy = story.policy.model_copy(update={"researchers": keys})
    aaron = story.researcher("aaron", key="mallory")
    aaron.cohorts()
    aaron.ask_for_contact()
    story.researcher().submit(a_plan(), "north")
    story.sync()
    aaron.submit(a_plan(), "north")
    story.say("approve")
    put_report(Share(story.share), "north@demo.invalid", a_plan().digest, dict.fromkeys(FILES, b"{}"))
    assert story.sync() == ()
    (to_alice,), (to_aaron,) = story.researcher().answers(), aaron.answers()
    assert sorted(path.name for path in to_alice.results) == ["report.html", "report.json"]
    assert (to_aaron.status, to_aaron.results) == ("approved", ())


def files_of(story: Story, plan: Plan, name: str = "alice") -> dict[str, bytes]:
    at = "2026-11-21T09:00:00Z"
    return pack(plan, story.keys["alice"], researcher=name, hospital="north", cohort="", note="", at=at)


def test_a_flood_of_plans_by_one_is_refused_by_name_and_keeps_nobody_else_out(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("silo_node.governance.room.UNDECIDED", 3)
    keys = {**story.policy.researchers, "bob": story.keys["bob"].public_key.hex()}
    story.policy = story.policy.model_copy(update={"researchers": keys})
    bob = story.researcher("bob")
    bob.cohorts()
    bob.ask_for_contact()
    story.sync()
    alice = story.researcher()._plane()
    for rounds in range(2, 7):
        alice.submit("north@demo.invalid", f"flood-{rounds}", files_of(story, a_plan(rounds)))
    bob.submit(a_plan(rounds=50), "north")
    problems = story.sync()
    assert len([one for one in problems if "was refused: too many plans wait" in one]) == 2
    waiting = [request.sender for request, _ in story.office.requests()]
    assert sorted(waiting) == ["alice@demo.invalid"] * 3 + ["bob@demo.invalid"]
    stands = sorted((one.status, one.reason) for one in story.researcher().answers())
    assert [status for status, _ in stands] == ["pending"] * 3 + ["rejected"] * 2
    assert "hand it over again once" in stands[-1][1]

    # Nothing is refused twice, and none of those that wait was dropped for another.
    assert story.sync() == ()
    assert sorted(request.sender for request, _ in story.office.requests()) == sorted(waiting)

    # Once the officers have decided there is room, and the refused plan can be handed over again.
    for request, _ in story.office.requests():
        if request.sender == "alice@demo.invalid":
            story.say("reject", plan=request.handed_over.plan)
    (refused,) = [one.name for one in story.researcher().answers() if one.status == "rejected"][:1]
    again = a_plan(int(refused.removeprefix("flood-")))
    assert story.researcher()._plane().submit("north@demo.invalid", refused, files_of(story, again))
    story.sync()
    assert story.office.approvals.standing(again.digest).status == "pending"
    assert story.office.find(again.digest).job == f"{refused}-2"


def test_what_is_kept_of_all_researchers_is_bounded_in_number_and_bytes(story: Story) -> None:
    book = story.office._book
    book.take_up("job", "alice@demo.invalid", files_of(story, a_plan()))
    room = Room.of(book, story.office.requests())
    size = book.size(a_plan().digest)
    assert size > 500
    assert room.why_not("alice@demo.invalid", size) == ""
    assert "no more plans" in room.why_not("alice@demo.invalid", KEPT.size - size + 1)
    many = Room({}, {f"r{n}": Bound(KEPT.files, 1) for n in range(KEPT_IN_ALL.files // KEPT.files)})
    assert "no more plans" in many.why_not("new", 1)
    large = Room({}, {f"r{n}": Bound(1, KEPT.size) for n in range(KEPT_IN_ALL.size // KEPT.size)})
    assert "no more plans" in large.why_not("new", 1)
    waiting = Room({f"r{n}": UNDECIDED for n in range(UNDECIDED_IN_ALL // UNDECIDED)}, {})
    assert "too many plans wait" in waiting.why_not("new", 1)


def test_one_who_was_not_there_when_a_cohort_was_published_sees_it_once_known_and_a_stranger_never(story: Story) -> None:
    mock, manifest = story.folder / "mock.json", story.folder / "manifest.json"
    mock.write_text("{}")
    manifest.write_text("{}")
    keys = {**story.policy.researchers, "bob": story.keys["bob"].public_key.hex()}
    story.policy = story.policy.model_copy(update={"researchers": keys})
    story.office.publish(story.keys["north"], "skin", mock, manifest, "lesions")
    assert [one.name for one in story.researcher().cohorts()] == ["skin"]
    bob, mallory = story.researcher("bob"), story.researcher("mallory")
    assert (bob.cohorts(), mallory.cohorts()) == ((), ())
    for one in (bob, mallory):
        one.ask_for_contact()
    story.sync()
    assert [one.name for one in bob.cohorts()] == ["skin"]
    assert mallory.cohorts() == ()


def test_nothing_is_published_while_an_introduction_is_forged(story: Story) -> None:
    mock, manifest = story.folder / "mock.json", story.folder / "manifest.json"
    mock.write_text("{}")
    manifest.write_text("{}")
    pin = story.share / "box" / "alice@demo.invalid" / "pin.json"
    pin.write_bytes(pin.read_bytes().replace(b'"fingerprint":"', b'"fingerprint":"x'))
    with pytest.raises(TrustError, match="not signed by them"):
        story.office.publish(story.keys["north"], "skin", mock, manifest, "lesions")
    assert not (story.share / "box" / "north@demo.invalid" / "collections").exists()


def test_a_researcher_hears_that_a_hospital_takes_no_more_before_anything_is_sent(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("protocol.governance.researcher.INBOX", Bound(2, 1))
    for rounds in (5, 6):
        story.researcher().submit(a_plan(rounds), "north")
    assert story.researcher().waiting() == {"north": 2}
    with pytest.raises(TransportError, match="2 messages of yours wait at north"):
        story.researcher().submit(a_plan(7), "north")
    assert story.researcher().waiting() == {"north": 2}
    story.sync()
    assert story.researcher().waiting() == {}
    assert story.researcher().submit(a_plan(7), "north")


def test_what_is_tidied_is_old_messages_and_plans_that_were_only_ever_rejected(story: Story) -> None:
    plans = {rounds: a_plan(rounds) for rounds in (5, 6, 7)}
    for plan in plans.values():
        story.researcher().submit(plan, "north")
    story.sync()
    story.say("reject", plan=plans[5])
    story.say("approve", plan=plans[6])
    story.say("reject", plan=plans[6])
    story.sync()
    assert story.office.leftovers(90.0) == ()
    story.clock = datetime.now(UTC) + timedelta(days=91)
    names = [one.name for one in story.office.leftovers(90.0)]
    assert [name.split()[0] for name in names] == ["messages", "rejected"]
    assert plans[5].digest.removeprefix("sha256:")[:12] in names[1]
    for one in story.office.leftovers(90.0):
        assert one.size > 0
        remove(one)
    assert story.office.leftovers(90.0) == ()
    assert {request.digest for request, _ in story.office.requests()} == {plans[6].digest, plans[7].digest}
    assert story.office.approvals.standing(plans[5].digest).status == "rejected"
    assert story.sync() == ()  # and it is not taken up again by itself
    assert len(story.office.requests()) == 2
    assert story.researcher().submit(plans[5], "north")
    story.sync()
    assert {one.name.rsplit("-", 1)[-1]: one.status for one in story.researcher().answers()}["2"] == "rejected"
