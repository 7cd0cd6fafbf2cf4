"""A full disk is told from other errors, and a job whose disk is full asks nobody for anything until there is room."""

from __future__ import annotations

import errno
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from aggregator.journal import Journal
from aggregator.service import office, room
from protocol.consortium.files import replace
from protocol.errors import ConsortiumError, JournalError
from tests.aggregator.service.test_jobs_in_a_queue import Consortium, Hooked, plan


def full_journal(folder: Path) -> None:
    with closing(Journal(folder)) as journal:
        pages = journal._db.execute("PRAGMA page_count").fetchone()[0]
        journal._db.execute(f"PRAGMA max_page_count = {pages}")
        journal.remember("big", bytes(1 << 20))


def full_folder(folder: Path) -> None:
    replace(folder / "state.json", b"{}")


def full_device(_: Path) -> None:
    with Path("/dev/full").open("wb", buffering=0) as file:
        file.write(b"x")


@pytest.mark.parametrize("write", [full_journal, full_folder, full_device])
def test_want_of_room_is_known_through_what_it_was_turned_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], None]
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("protocol.consortium.files.os.fsync", full)
    with pytest.raises((JournalError, ConsortiumError, OSError)) as raised:
        write(tmp_path)
    assert room.is_full(raised.value)


def test_other_errors_are_not_want_of_room() -> None:
    for error in (JournalError("full"), OSError(errno.EACCES, "no"), sqlite3.OperationalError("database is locked")):
        assert not room.is_full(error)


def test_a_job_asks_nobody_while_there_is_no_room_for_its_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    consortium, asked, full = Consortium(tmp_path), list[bool](), threading.Event()
    monkeypatch.setattr(office, "free", lambda folder: 1000 if full.is_set() else room.free(folder))

    def before(count: int) -> None:
        asked.append(full.is_set())
        if count == 8:
            full.set()
            threading.Timer(3.0, full.clear).start()

    ticket = consortium.queue.submit(plan())
    consortium.serve(wrap=lambda inner: Hooked(inner, before))
    standing = ticket.standing()
    assert standing.state == "done", standing.reason
    assert len([one for one in asked[9:] if one]) <= 6  # the step that had begun when the disk became full, none after it


def test_a_large_model_needs_more_room_than_a_small_one() -> None:
    assert room.needed(100_000_000) > 6 * 400e6
    assert room.LEAST <= room.needed(0) < 2 * room.LEAST
