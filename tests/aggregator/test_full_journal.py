"""A journal that has no room left says so in words, and loses nothing that it took in before."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from aggregator.journal import Journal
from protocol.errors import JournalError

WRITES: dict[str, Callable[[Journal], Any]] = {
    "remember": lambda journal: journal.remember("big", bytes(1 << 20)),
    "remember_all": lambda journal: journal.remember_all({"small": 1, "big": bytes(1 << 20)}),
    "begin": lambda journal: [journal.begin(number) for number in range(2, 2000)],
    "fail": lambda journal: journal.fail(1, 0, "x" * (1 << 20)),
}


@pytest.mark.parametrize("write", WRITES)
def test_a_write_for_which_there_is_no_room_is_a_journal_error_and_what_was_kept_stays(tmp_path: Path, write: str) -> None:
    with closing(Journal(tmp_path)) as journal:
        journal.remember("before", "kept")
        journal.begin(1)
        pages = journal._db.execute("PRAGMA page_count").fetchone()[0]
        journal._db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(JournalError, match=r"full.*Free space"):
            WRITES[write](journal)
        assert journal.bytes("small") is None
        journal._db.execute(f"PRAGMA max_page_count = {1 << 30}")
        journal.remember("after", "kept too")
    with closing(Journal(tmp_path)) as journal:
        assert (journal.fact("before", str), journal.fact("after", str)) == ("kept", "kept too")
