"""How jobs stand, as a coordinator reads it on a terminal."""

from __future__ import annotations

import io
import time
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from aggregator.service.live import Live, SiloLive
from aggregator.service.queue import Queue, State, Ticket
from fedward.status import draw
from tests.conftest import tiny_plan


def drawn(*tickets: Ticket) -> str:
    out = io.StringIO()
    Console(file=out, width=160).print(draw(tickets))
    return out.getvalue()


def ticket(folder: Path, state: State, live: Live | None = None, **changes: object) -> Ticket:
    made = Queue(folder).submit(tiny_plan())
    made.put(msgspec.structs.replace(made.standing(), state=state, **changes))
    if live is not None:
        made.live.write_bytes(msgspec.json.encode(live))
    return made


def running(**changes: object) -> Live:
    now = time.time()
    silos = {"north": SiloLive("alive", 0.2, "answered"), "west": SiloLive("lost", 31.0, "asked")}
    known = Live(
        at=now, job="tiny-1", step="round 3", since=now - 5, round=3, rounds=8, committed=2, deadline_s=60.0, silos=silos
    )
    return msgspec.structs.replace(known, **changes)


def test_nothing_submitted_says_what_to_do() -> None:
    assert "fedward aggregator submit" in drawn()


def test_a_running_job_shows_its_round_its_figures_and_each_hospital(tmp_path: Path) -> None:
    said = drawn(ticket(tmp_path, "running", running(epsilon=1.25, auroc=0.75)))
    for word in ("0001-tiny", "running", "2 of 8", "0.750", "1.25", "round 3, for 5 s", "alive", "lost (31 s silent)", "asked"):
        assert word in said, word
    assert "late" not in said


def test_a_hospital_that_has_used_most_of_its_time_is_late_and_one_that_answered_is_not(tmp_path: Path) -> None:
    said = drawn(ticket(tmp_path, "running", running(since=time.time() - 55.0)))
    lines = {line.split()[0]: line for line in said.splitlines() if line.startswith(("north", "west"))}
    assert lines["west"].rstrip().endswith("late")
    assert lines["north"].rstrip().endswith("answered")


def test_a_status_that_nobody_writes_any_more_says_since_when(tmp_path: Path) -> None:
    assert "nothing new for 5 min" in drawn(ticket(tmp_path, "running", running(at=time.time() - 300)))
    assert "nothing new" not in drawn(ticket(tmp_path / "fresh", "running", running()))


@pytest.mark.parametrize("state", ["queued", "done", "failed", "cancelled"])
def test_a_job_that_does_not_run_shows_no_hospitals_and_in_one_line_why(tmp_path: Path, state: State) -> None:
    failed = ticket(tmp_path, state, running(), reason="round 3: 1 of 2:\n  west: lost")
    ticket(tmp_path, "done")
    said = drawn(*Queue(tmp_path).tickets())
    assert failed.name in said
    assert state in said
    assert "round 3: 1 of 2" in said
    assert "west" not in said


def test_the_newest_job_tells_all_that_it_failed_of(tmp_path: Path) -> None:
    said = drawn(
        ticket(tmp_path, "failed", running(), reason="0 of 1 silos:\n  west: PlanError: lower privacy.metrics_epsilon.")
    )
    assert "why 0001-tiny failed: 0 of 1 silos:" in said
    assert "west: PlanError: lower privacy.metrics_epsilon." in said


def test_a_job_whose_end_was_asked_for_says_so_while_it_waits(tmp_path: Path) -> None:
    waiting = ticket(tmp_path, "queued")
    Queue(tmp_path).cancel(waiting.name)
    assert "its end was asked for" in drawn(waiting)


def test_a_live_file_that_is_torn_is_passed_over(tmp_path: Path) -> None:
    torn = ticket(tmp_path, "running")
    torn.live.write_bytes(b'{"at": 1')
    assert "running" in drawn(torn)
