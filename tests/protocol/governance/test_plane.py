"""Cohorts and plans between a hospital and researchers over a shared folder, and what an attacker on that folder can do."""

from __future__ import annotations

import ast
import gzip
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("syft_rds")

from protocol.errors import TrustError
from protocol.governance.bounds import Bound
from protocol.governance.pysyft.plane import Plane
from protocol.governance.pysyft.records import Submission

ROOT = Path(__file__).parents[3]
NORTH, ALICE, MALLORY = "north@demo.invalid", "alice@demo.invalid", "mallory@demo.invalid"
PLAN = b"schema: fedward.plan/1\nname: fedprox-on-skin\n"


class World:
    """One hospital, two researchers it has let in, and the folder between them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.share = folder, folder / "share"
        self.pins: dict[str, str] = {}
        self.pins = {who: self.open(who).fingerprint for who in (NORTH, ALICE, MALLORY)}
        self.mock, self.manifest = folder / "mock.json", folder / "manifest.json"
        self.mock.write_text(json.dumps({"cases": 3}))
        self.manifest.write_text(json.dumps({"marker": "SECRETPATIENT"}))

    def open(self, who: str, pins: dict[str, str] | None = None) -> Plane:
        role = "hospital" if who == NORTH else "researcher"
        return Plane(who, self.folder / who, self.share, role, self.pins if pins is None else pins)  # type: ignore[arg-type]

    def meet(self, *researchers: str) -> None:
        for who in researchers:
            self.open(who).ask_for_contact(NORTH)
            north = self.open(NORTH)
            north.let_in(who)
            north.sync()

    def inbox(self, who: str) -> Path:
        return self.share / "p2p" / NORTH / "inbox" / who

    def files(self) -> Iterator[Path]:
        return (path for path in self.share.rglob("*") if path.is_file())


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_cohort_is_published_a_plan_handed_over_answered_and_its_results_returned(world: World) -> None:
    world.open(NORTH).publish("skin", world.mock, world.manifest, "lesions", [ALICE])
    world.meet(ALICE)
    (cohort,) = world.open(ALICE).cohorts()
    assert (cohort.hospital, cohort.name, cohort.summary) == (NORTH, "skin", "lesions")
    assert [path.read_text() for path in cohort.mock if path.name == "mock.json"] == ['{"cases": 3}']

    world.open(ALICE).submit(NORTH, "study-1", {"plan.yaml": PLAN, "code/network.py": b"x = 1\n"})
    north = world.open(NORTH)
    assert north.submissions() == (Submission("study-1", ALICE, {"plan.yaml": PLAN, "code/network.py": b"x = 1\n"}, "pending"),)
    north.answer("study-1", ALICE, approved=True, reason="fine")
    (answer,) = world.open(ALICE).answers()
    assert (answer.status, answer.reason, answer.results) == ("approved", "fine", ())

    result = world.folder / "report.json"
    result.write_text('{"auroc": 0.8}')
    north.return_results("study-1", {result.name: result.read_bytes()}, ALICE)
    (answer,) = world.open(ALICE).answers()
    assert [path.read_text() for path in answer.results] == ['{"auroc": 0.8}']


def test_a_rejection_reaches_the_researcher_with_its_reason(world: World) -> None:
    world.meet(ALICE)
    world.open(ALICE).submit(NORTH, "study-1", {"plan.yaml": PLAN})
    north = world.open(NORTH)
    north.submissions()
    north.answer("study-1", ALICE, approved=False, reason="no differential privacy")
    (answer,) = world.open(ALICE).answers()
    assert (answer.status, answer.reason) == ("rejected", "no differential privacy")


def test_neither_plans_nor_private_data_can_be_read_on_the_share(world: World) -> None:
    world.open(NORTH).publish("skin", world.mock, world.manifest, "lesions", [ALICE])
    world.meet(ALICE)
    world.open(ALICE).submit(NORTH, "study-1", {"plan.yaml": PLAN})
    world.open(NORTH).submissions()
    seen = 0
    for path in world.files():
        data = path.read_bytes()
        seen += 1
        for secret in (b"fedprox-on-skin", b"SECRETPATIENT"):
            assert secret not in data
            if data[:2] == b"\x1f\x8b":
                assert secret not in gzip.decompress(data)
    assert seen > 5


def test_nobody_is_let_in_whose_key_is_not_pinned_or_is_another(world: World) -> None:
    world.open(ALICE).ask_for_contact(NORTH)
    pins = {NORTH: world.pins[NORTH]}
    with pytest.raises(TrustError, match="not pinned"):
        world.open(NORTH, pins).let_in(ALICE)
    with pytest.raises(TrustError, match="not the pinned one"):
        world.open(NORTH, pins | {ALICE: world.pins[MALLORY]}).let_in(ALICE)


def test_a_key_that_was_exchanged_on_the_share_is_noticed_before_the_first_message(world: World) -> None:
    world.open(ALICE).ask_for_contact(NORTH)
    place = world.share / "box" / ALICE / "bundles" / f"{NORTH}.json"
    real = json.loads(place.read_text())["public_encryption_bundle"]
    bundle = world.open(MALLORY)._client.peer_manager.peer_store.get_public_bundle()
    bundle["id"], bundle["identity"] = real["id"], ALICE
    forged = json.dumps({"public_encryption_bundle": bundle}).replace("did:syft:" + MALLORY, "did:syft:" + ALICE)
    place.write_text(forged)
    with pytest.raises(TrustError, match="not the pinned one"):
        world.open(NORTH).let_in(ALICE)


def test_a_plan_goes_to_no_hospital_whose_key_is_not_the_pinned_one(world: World) -> None:
    world.meet(ALICE)
    alice = world.open(ALICE, world.pins | {NORTH: world.pins[MALLORY]})
    before = {path for path in world.files() if world.inbox(ALICE) in path.parents}
    with pytest.raises(TrustError, match="not the pinned one"):
        alice.submit(NORTH, "study-1", {"plan.yaml": PLAN})
    assert {path for path in world.files() if world.inbox(ALICE) in path.parents} == before


def test_one_researcher_cannot_speak_in_the_name_of_another_nor_decide(world: World) -> None:
    from syft.sync.messages.proposed_filechange import ProposedFileChange, ProposedFileChangesMessage

    world.meet(ALICE, MALLORY)
    mallory = world.open(MALLORY)
    mallory.sync()

    def send(sender: str, place: str) -> None:
        change = ProposedFileChange(path_in_datasite=Path(place), content="forged", datasite_email=NORTH)
        message = ProposedFileChangesMessage(sender_email=sender, proposed_file_changes=[change])
        mallory._router.watcher_send_proposed_file_changes_message(NORTH, message)

    send(ALICE, f"app_data/job/inbox/{ALICE}/v1/forged/code/plan.yaml")
    send(MALLORY, f"app_data/job/inbox/{ALICE}/v1/forged/code/plan.yaml")
    send(MALLORY, f"app_data/job/review/{MALLORY}/v1/forged/state.yaml")
    north = world.open(NORTH)
    assert north.submissions() == ()
    home = world.folder / NORTH / "syft" / NORTH
    assert not [path for path in home.rglob("*") if "forged" in path.name]
    assert MALLORY in north.sync() or list((world.share / "p2p" / NORTH / "quarantine" / MALLORY).iterdir())


@pytest.mark.parametrize("name", ["msgv2_1.0_dead.tar.gz", "not a message", "msgv2_2.0_beef.tar.gz"])
def test_junk_in_the_inbox_is_put_aside_and_later_plans_arrive(world: World, name: str) -> None:
    world.meet(ALICE)
    world.inbox(ALICE).mkdir(parents=True, exist_ok=True)
    (world.inbox(ALICE) / name).write_bytes(b"junk")
    world.open(ALICE).submit(NORTH, "study-1", {"plan.yaml": PLAN})
    assert [one.name for one in world.open(NORTH).submissions()] == ["study-1"]
    assert [path.name for path in (world.share / "p2p" / NORTH / "quarantine" / ALICE).iterdir()] == [name]


def test_a_link_in_the_inbox_leads_nowhere(world: World) -> None:
    world.meet(ALICE)
    (world.inbox(ALICE) / "msgv2_1.0_dead.tar.gz").symlink_to(world.manifest)
    world.open(ALICE).submit(NORTH, "study-1", {"plan.yaml": PLAN})
    assert [one.name for one in world.open(NORTH).submissions()] == ["study-1"]


def test_what_changes_after_it_was_handed_over_is_another_submission(world: World) -> None:
    world.meet(ALICE)
    alice = world.open(ALICE)
    alice.submit(NORTH, "study-1", {"plan.yaml": PLAN})
    north = world.open(NORTH)
    (read,) = north.submissions()
    alice.sync()
    folder = alice._client.jobs["study-1"].job_submission_path
    (folder / "code" / "plan.yaml").write_bytes(b"schema: another\n")
    alice._client.sync_engine.push_job_files(folder)
    (again,) = north.submissions()
    assert read.files["plan.yaml"] == PLAN  # what was read stays what it was
    assert again.files["plan.yaml"] != PLAN


def test_keys_are_for_their_owner_only_and_readable_ones_are_refused(world: World) -> None:
    (key,) = [path for path in (world.folder / NORTH).rglob("*key*") if path.is_file()]
    assert key.stat().st_mode & 0o077 == 0
    assert (world.folder / NORTH).stat().st_mode & 0o077 == 0
    key.chmod(0o644)
    with pytest.raises(TrustError, match="chmod 600"):
        world.open(NORTH)


def test_nothing_is_published_to_one_whose_key_is_not_pinned(world: World) -> None:
    with pytest.raises(TrustError, match="not pinned, so no cohort is shown"):
        world.open(NORTH).publish("skin", world.mock, world.manifest, "lesions", [ALICE, "carol@demo.invalid"])
    world.meet(ALICE)
    assert world.open(ALICE).cohorts() == ()
    world.open(NORTH).publish("skin", world.mock, world.manifest, "lesions", [ALICE])
    with pytest.raises(TrustError, match="not pinned, so no cohort is shown"):
        world.open(NORTH).show_cohorts(["carol@demo.invalid"])


def test_one_who_sends_very_much_has_a_turn_and_then_the_others_have(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protocol.governance.pysyft.room.INBOX", Bound(2, 16 << 20))
    world.meet(ALICE, MALLORY)
    alice = world.open(ALICE)
    for number in range(5):
        alice.submit(NORTH, f"flood-{number}", {"plan.yaml": PLAN})
    world.open(MALLORY).submit(NORTH, "study", {"plan.yaml": PLAN})
    north = world.open(NORTH)
    assert sorted(one.name for one in north.submissions()) == ["flood-0", "flood-1", "study"]
    assert north.waiting == (ALICE,)
    assert len(list(world.inbox(ALICE).iterdir())) == 3
    assert len(world.open(NORTH).submissions()) == 5
    last = world.open(NORTH)
    assert len(last.submissions()) == 6
    assert last.waiting == ()


@pytest.mark.parametrize("bound", [Bound(4, 16 << 20), Bound(4000, 6000)])
def test_what_pysyft_keeps_of_one_sender_is_bounded_and_the_rest_waits_at_their_end(
    world: World, monkeypatch: pytest.MonkeyPatch, bound: Bound
) -> None:
    world.meet(ALICE, MALLORY)
    world.open(ALICE).submit(NORTH, "study-1", {"plan.yaml": PLAN})
    world.open(NORTH).submissions()
    monkeypatch.setattr("protocol.governance.pysyft.room.JOBS", bound)
    world.open(ALICE).submit(NORTH, "study-2", {"plan.yaml": PLAN})
    world.open(MALLORY).submit(NORTH, "study-3", {"plan.yaml": PLAN})
    north = world.open(NORTH)
    assert sorted(one.name for one in north.submissions()) == ["study-1", "study-3"]
    assert (north.waiting, len(list(world.inbox(ALICE).iterdir()))) == ((ALICE,), 1)


def test_of_the_messages_that_were_taken_or_put_aside_the_oldest_go(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protocol.governance.pysyft.connection.ARCHIVE", Bound(2, 64 << 20))
    world.meet(ALICE)
    for number in range(4):
        world.open(ALICE).submit(NORTH, f"study-{number}", {"plan.yaml": PLAN})
    for name in ("junk-1", "junk-2", "junk-3"):
        (world.inbox(ALICE) / name).write_bytes(b"junk")
    assert len(world.open(NORTH).submissions()) == 4
    for kind in ("archive", "quarantine"):
        assert len(list((world.share / "p2p" / NORTH / kind / ALICE).iterdir())) == 2
    assert list(world.inbox(ALICE).iterdir()) == []


def test_every_method_that_pysyft_calls_on_a_connection_is_ours_and_not_its_stub() -> None:
    from syft.sync.connections import connection_router
    from syft.sync.sync import datasite_owner_syncer, datasite_watcher_syncer
    from syft.sync.version import peer_manager

    from protocol.governance.pysyft.connection import FolderConnection

    callers = (connection_router, datasite_owner_syncer, datasite_watcher_syncer, peer_manager)
    source = "".join(inspect.getsource(module) for module in callers)
    called = set(re.findall(r"\bconn(?:ection)?\.(\w+)\(", source))
    assert len(called) > 30
    homes = {name: getattr(getattr(FolderConnection, name, None), "__module__", "nowhere") for name in called}
    assert {name: home for name, home in homes.items() if not home.startswith("protocol.")} == {}


FORBIDDEN = ("process_approved_jobs", "SyftJobRunner", "auto_approve_and_run_jobs", "job_matches_criteria")


def test_nothing_of_ours_names_what_would_run_or_approve_a_job_by_itself() -> None:
    found = []
    for package in ("protocol", "privacy", "silo_node", "aggregator", "evaluation", "fedward"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [getattr(node, what, None) for what in ("attr", "id", "name", "value")]  # value: for getattr
                names = [name for name in names if isinstance(name, str)]
                if any(name.rpartition(".")[2] in FORBIDDEN or name.startswith("login_") for name in names):
                    found.append(f"{path.name}: {names}")
    assert found == []


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "a\0b"])
def test_no_name_leads_out_of_the_share(tmp_path: Path, name: str) -> None:
    from protocol.governance.pysyft.share import Share

    with pytest.raises(TrustError):
        Share(tmp_path).at("box", name)
