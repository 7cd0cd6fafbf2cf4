"""A job's files changed by its researcher after they were handed over or approved, and many handing over at once."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("syft_rds")

from protocol.errors import TrustError
from protocol.governance.pysyft.plane import Plane
from tests.protocol.governance.test_plane import ALICE, MALLORY, NORTH, PLAN, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def change(world: World, name: str, data: str) -> None:
    """Alice changes a file of her job and has it carried to the hospital."""
    alice = world.open(ALICE)
    alice.sync()
    folder = alice._client.jobs["study-1"].job_submission_path
    (folder / name).write_text(data)
    alice._client.sync_engine.push_job_files(folder)


def refuse_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **_: object) -> None:
        raise AssertionError(f"something was run: {arguments}")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    for name in ("system", "posix_spawn", "execv", "execve", "fork"):
        monkeypatch.setattr(os, name, refuse)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("run.sh", "touch {folder}/ran\n"),
        ("code/main.py", "open('{folder}/ran', 'w')\n"),
        ("config.yaml", "name: another\nentrypoint: ../../run.sh\ncode_path: /\nsubmitted_by: mallory@demo.invalid\n"),
        ("config.yaml", "::: junk ["),
    ],
)
def test_what_pysyft_would_run_is_never_run_however_it_was_changed_after_approval(
    world: World, monkeypatch: pytest.MonkeyPatch, name: str, data: str
) -> None:
    world.meet(ALICE, MALLORY)
    world.open(ALICE).submit(NORTH, "study-1", {"plan.yaml": PLAN})
    north = world.open(NORTH)
    (read,) = north.submissions()
    north.answer("study-1", ALICE, approved=True, reason="fine")
    change(world, name, data.format(folder=world.folder))
    world.open(MALLORY).submit(NORTH, "study-2", {"plan.yaml": PLAN})
    refuse_to_run(monkeypatch)
    again = world.open(NORTH)
    found = {(one.name, one.researcher): one for one in again.submissions()}
    assert (("study-2", MALLORY)) in found  # whatever alice did to her own job
    assert found.keys() <= {("study-1", ALICE), ("study-2", MALLORY)}
    for one in found.values():
        assert one.files == read.files  # the plan is what it was, and run.sh and config.yaml are none of it
    again.answer("study-2", MALLORY, approved=True, reason="fine")
    assert not (world.folder / "ran").exists()


def test_a_job_that_holds_more_than_a_plan_or_a_link_has_no_files(world: World) -> None:
    world.meet(ALICE)
    world.open(ALICE).submit(NORTH, "study-1", {f"{number}.json": b"{}" for number in range(70)})
    (found,) = world.open(NORTH).submissions()
    assert found.files == {}


def _hand_over(folder: str, share: str, who: str, pins: dict[str, str], names: list[str], start: object) -> None:
    plane = Plane(who, Path(folder), Path(share), "researcher", pins)
    start.wait()  # type: ignore[attr-defined]
    for name in names:
        plane.submit(NORTH, name, {"plan.yaml": PLAN + name.encode()})


def test_plans_handed_over_at_the_same_moment_all_arrive_whole_each_under_its_own_researcher(world: World) -> None:
    world.meet(ALICE, MALLORY)
    processes, spawn = [], multiprocessing.get_context("spawn")
    start = spawn.Barrier(2)
    wanted = {(f"{who[:5]}-{number}", who) for who in (ALICE, MALLORY) for number in range(3)}
    for who in (ALICE, MALLORY):
        names = sorted(name for name, whose in wanted if whose == who)
        given = (str(world.folder / who), str(world.share), who, world.pins, names, start)
        processes.append(spawn.Process(target=_hand_over, args=given))
        processes[-1].start()
    seen: set[tuple[str, str]] = set()
    while any(one.is_alive() for one in processes):
        seen |= {(one.name, one.researcher) for one in world.open(NORTH).submissions()}  # while they come
    for one in processes:
        one.join()
    assert [one.exitcode for one in processes] == [0, 0]
    found = world.open(NORTH).submissions()
    assert {(one.name, one.researcher) for one in found} == wanted
    assert seen <= wanted
    assert {one.files["plan.yaml"] for one in found} == {PLAN + name.encode() for name, _ in wanted}


def test_no_answer_is_sent_to_a_party_that_was_not_let_in(world: World) -> None:
    """PySyft encrypts only for peers it knows, and sends to others in the clear."""
    world.meet(ALICE)
    world.open(ALICE).submit(NORTH, "study-1", {"plan.yaml": PLAN})
    north = world.open(NORTH)
    north.submissions()
    outbox = world.share / "p2p" / NORTH / "outbox" / ALICE
    before = {path.name for path in outbox.iterdir()}
    north._router.peer_store.clear_caches()
    from syft.sync.events.file_change_event import FileChangeEventsMessage

    north._router.owner_write_event_messages_to_outbox(ALICE, FileChangeEventsMessage(events=[]))
    assert {path.name for path in outbox.iterdir()} == before
    assert ALICE in north._router.put_aside
    with pytest.raises(TrustError, match="no job"):
        north.answer("study-1", MALLORY, approved=True, reason="not hers")
