"""The ledger: nothing is forgotten, nothing is charged twice, and whoever changes a line is found out."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.events import training_event
from privacy.ledger import Head, Ledger, spent_epsilon
from privacy.ledger.lines import read_lines
from protocol.errors import LedgerError, LedgerRolledBackError, PrivacyError
from tests.privacy.ledgers import PLAN, ROUND, SCORES, charge, new


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a ledger with four charges."""
    ledger = new(tmp_path_factory.mktemp("ledger"))
    for number in (1, 2, 3):
        charge(ledger, number)
    charge(ledger, release="scores/3/federated/validation", part="validation", event=SCORES)
    return ledger.path.read_bytes()


def put(folder: Path, data: bytes) -> Path:
    path = folder / "put.jsonl"
    path.write_bytes(data)
    return path


def test_a_charge_is_there_after_the_process_is_gone(tmp_path: Path) -> None:
    first = charge(new(tmp_path))
    ledger = Ledger.open(tmp_path / "store.ledger.jsonl")
    assert (first.seq, first.fresh) == (1, True)
    assert ledger.head == Head(1, first.digest)
    (entry,) = ledger.entries
    assert (entry.study, entry.plan, entry.job, entry.release, entry.part) == ("study", PLAN, "job-1", "round/1", "train")
    assert entry.event == ROUND
    assert ledger.cohort == "cohort"
    assert stat.S_IMODE(ledger.path.stat().st_mode) == 0o600


def test_the_same_release_is_charged_once(tmp_path: Path) -> None:
    ledger = new(tmp_path)
    first = charge(ledger)
    again = charge(ledger)
    assert (again.digest, again.seq, again.fresh) == (first.digest, 1, False)
    assert ledger.charged("job-1", "round/1") == again
    assert ledger.charged("job-1", "round/2") is None
    assert ledger.charged("job-2", "round/1") is None
    assert len(Ledger.open(ledger.path).entries) == 1


@pytest.mark.parametrize("changes", [{"event": training_event(3.0, 0.1, 10)}, {"part": "test"}])
def test_the_same_release_at_another_price_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    ledger = new(tmp_path)
    charge(ledger)
    with pytest.raises(LedgerError, match="charged before"):
        charge(ledger, **changes)
    assert len(ledger.entries) == 1


def test_two_holders_of_one_ledger_see_each_other(tmp_path: Path) -> None:
    one = new(tmp_path)
    two = Ledger.open(one.path)
    charge(one, 1)
    charge(two, 2)
    charge(one, 3)
    assert [entry.release for entry in one.entries] == ["round/1", "round/2", "round/3"]
    two.refresh()
    assert one.head == two.head == Ledger.open(one.path).head


def test_a_cohort_has_one_ledger(tmp_path: Path) -> None:
    charge(new(tmp_path))
    with pytest.raises(LedgerError, match="one ledger for ever"):
        new(tmp_path)
    assert len(Ledger.open(tmp_path / "store.ledger.jsonl").entries) == 1


def test_an_interrupted_creation_is_finished(tmp_path: Path, whole: bytes) -> None:
    for cut in (0, 1, whole.index(b"\n")):
        path = put(tmp_path, whole[:cut])
        with pytest.raises(LedgerError, match="never finished being made"):
            Ledger.open(path)
        assert Ledger.create(path, "cohort").head.entries == 0


def test_a_missing_ledger_is_not_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="the budget counts as spent"):
        Ledger.open(tmp_path / "none")
    ledger = new(tmp_path)
    ledger.path.unlink()
    with pytest.raises(LedgerError, match="no ledger here"):
        charge(ledger)


@given(st.data())
def test_any_changed_byte_is_found(whole: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(LedgerError):
        read_lines(bytes(changed), "ledger")


@given(st.data())
def test_removed_doubled_and_moved_lines_are_found(whole: bytes, data: st.DataObject) -> None:
    lines = whole.splitlines(keepends=True)
    order = data.draw(st.lists(st.integers(0, len(lines) - 1), min_size=1, max_size=7))
    if order == list(range(len(order))):  # the beginning of a ledger is a ledger; expect() is there for that
        assert len(read_lines(whole, "ledger").entries) == 4
        return
    with pytest.raises(LedgerError):
        read_lines(b"".join(lines[index] for index in order), "ledger")


def test_the_line_that_was_changed_is_named(whole: bytes) -> None:
    changed = whole.replace(b'"release":"round/2"', b'"release":"round/9"')
    with pytest.raises(LedgerError, match=r"ledger: line 3 does not verify: its digest .* restore the newest copy"):
        read_lines(changed, "ledger")


@given(st.data())
def test_a_line_that_was_never_finished_is_cut_off_and_all_others_count(whole: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(whole.index(b"\n") + 1, len(whole)))
    lines = read_lines(whole[:cut], "ledger")
    ends = [place for place in range(len(whole)) if whole[place : place + 1] == b"\n"][1:]
    assert len(lines.entries) == sum(end <= cut for end in ends)  # complete but for its line end counts


def test_charging_goes_on_behind_a_torn_line(tmp_path: Path, whole: bytes) -> None:
    ends = [place for place in range(len(whole)) if whole[place : place + 1] == b"\n"]
    for cut, entries in ((ends[-1] - 7, 4), (ends[-1], 5)):
        ledger = Ledger.open(put(tmp_path, whole[:cut]))
        assert (ledger.torn > 0) == (entries == 4)
        charge(ledger, 9)
        assert len(Ledger.open(ledger.path).entries) == entries
        assert [("cut off" in notice) for notice in ledger.notices] == ([True] if entries == 4 else [])


def test_an_older_copy_is_found_by_the_heads_that_were_handed_out(tmp_path: Path) -> None:
    ledger = new(tmp_path)
    charge(ledger, 1)
    old, first = ledger.path.read_bytes(), ledger.head
    charge(ledger, 2)
    second = ledger.head
    ledger.expect([first, second])
    restored = Ledger.open(put(tmp_path, old))
    restored.expect([first])
    with pytest.raises(LedgerRolledBackError, match="An older or another copy"):
        restored.expect([first, second])
    charge(restored, 3)  # as long as before, but another past
    with pytest.raises(LedgerRolledBackError):
        restored.expect([second])
    with pytest.raises(LedgerRolledBackError):
        restored.expect([Head(-1, first.digest)])


def test_an_older_copy_under_a_running_process_is_found_without_witnesses(tmp_path: Path) -> None:
    ledger = new(tmp_path)
    charge(ledger, 1)
    old = ledger.path.read_bytes()
    charge(ledger, 2)
    ledger.path.write_bytes(old)
    for _ in range(2):
        with pytest.raises(LedgerRolledBackError):
            charge(ledger, 3)
    assert ledger.path.read_bytes() == old


def test_a_full_disk_charges_and_releases_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = new(tmp_path)
    charge(ledger, 1)
    before = ledger.path.read_bytes()
    real = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) > 50:
            return real(descriptor, data[:50])
        raise OSError(28, "No space left on device")

    def unsynced(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    for name, broken in (("write", full), ("fsync", unsynced)):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, broken)
            with pytest.raises(LedgerError, match="nothing is released"):
                charge(ledger, 2)
        assert ledger.path.read_bytes() == before
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", unsynced)
        with pytest.raises(LedgerError):  # found, but not known to be safe
            ledger.charged("job-1", "round/1")
    assert charge(ledger, 2).seq == 2


@pytest.mark.parametrize(
    "changes",
    [{"part": "everyone"}, {"release": ""}, {"release": "a\nb"}, {"release": "x" * 300}, {"job": ""}, {"event": "nothing"}],
)
def test_what_is_not_a_charge_is_not_written(tmp_path: Path, changes: dict[str, str]) -> None:
    ledger = new(tmp_path)
    with pytest.raises(PrivacyError):
        charge(ledger, **changes)
    assert ledger.head.entries == 0


def test_what_was_spent_by_study(tmp_path: Path) -> None:
    ledger = new(tmp_path)
    assert spent_epsilon(ledger).epsilon == 0.0
    for job in ("job-1", "job-2"):
        for number in (1, 2):
            charge(ledger, number, job=job)
            charge(ledger, release=f"scores/{number}", part="validation", event=SCORES, job=job)
    spent = spent_epsilon(ledger)
    assert spent.delta == 1e-6
    first, second = spent.studies
    assert (first.job, first.releases) == ("job-1", {"train": 2, "validation": 2})
    assert first.epsilon == max(first.epsilon_by_part.values()) == second.epsilon
    assert first.epsilon < spent.epsilon < 2 * first.epsilon + 1e-9
