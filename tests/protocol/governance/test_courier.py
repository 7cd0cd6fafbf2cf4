"""Two shares become one over messages, and neither side can write what is not its own."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import MessageError, TrustError
from protocol.governance import courier
from protocol.governance.bounds import ARCHIVE, INBOX, Bound, drop_oldest, oldest
from protocol.governance.courier import Answer, Ask, Courier, File
from protocol.governance.pysyft.share import Share

NORTH, SOUTH, ALICE, BOB = "north@demo.invalid", "south@demo.invalid", "alice@demo.invalid", "bob@demo.invalid"


class Pair:
    """The coordinator's share, north's, and the courier between them; every message goes through its bytes."""

    def __init__(self, folder: Path) -> None:
        self.office, self.north = Share(folder / "office"), Share(folder / "north")
        self.courier = Courier(self.office, NORTH, strangers=[SOUTH])

    def carry(self, most: int = 9) -> int:
        for turn in range(1, most + 1):
            ask = courier.decode_ask(courier.encode(self.courier.ask()))
            answer = courier.answer(self.north, NORTH, ask)
            if self.courier.take(courier.decode_answer(courier.encode(answer))):
                return turn
        raise AssertionError("it never ends")


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


def put(share: Share, path: str, data: bytes = b"x") -> None:
    share.put(share.find(path), data)


def there(share: Share, path: str) -> bool:
    return share.find(path).exists()


def test_a_message_reaches_the_hospital_and_is_gone_at_the_office_once_it_was_taken(pair: Pair) -> None:
    message = f"p2p/{NORTH}/inbox/{ALICE}/one"
    put(pair.office, message, b"sealed")
    pair.carry()
    assert pair.north.get(pair.north.find(message)) == b"sealed"
    archive = pair.north.at("p2p", NORTH, "archive", ALICE)
    archive.mkdir(parents=True)
    pair.north.find(message).rename(archive / "one")
    pair.carry()
    assert not there(pair.office, message)
    assert not there(pair.north, message)


def test_what_a_hospital_sends_and_says_of_itself_reaches_the_office(pair: Pair) -> None:
    for path in (f"p2p/{NORTH}/outbox/{ALICE}/two", f"box/{NORTH}/pin.json", f"box/{NORTH}/collections/skin/mock.zip"):
        put(pair.north, path, path.encode())
    pair.carry()
    assert pair.office.get(pair.office.at("box", NORTH, "pin.json")) == f"box/{NORTH}/pin.json".encode()
    assert there(pair.office, f"p2p/{NORTH}/outbox/{ALICE}/two")
    pair.north.at("box", NORTH, "collections", "skin", "mock.zip").unlink()
    pair.carry()
    assert not there(pair.office, f"box/{NORTH}/collections/skin/mock.zip")


def test_a_hospital_learns_nothing_of_another_and_keeps_its_own_memory(pair: Pair) -> None:
    for path in (f"box/{SOUTH}/pin.json", f"p2p/{SOUTH}/inbox/{ALICE}/one", f"box/{ALICE}/peers.json"):
        put(pair.office, path)
    put(pair.north, f"box/{NORTH}/events/one")
    put(pair.office, f"box/{ALICE}/pin.json")
    pair.carry()
    assert [pair.north.identify(path) for path in sorted(pair.north.root.rglob("*")) if path.is_file()] == [
        f"box/{ALICE}/pin.json",
        f"box/{NORTH}/events/one",
    ]
    assert not there(pair.office, f"box/{NORTH}/events/one")


def test_nothing_is_sent_twice_and_much_goes_in_parts(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "LIMIT", 1000)
    for number in range(5):
        put(pair.office, f"p2p/{NORTH}/inbox/{ALICE}/{number}", bytes(700))
    assert pair.carry() > 5
    assert pair.courier.ask().files == ()


@pytest.mark.parametrize(
    "path",
    [
        f"box/{NORTH}/pin.json",
        f"p2p/{NORTH}/outbox/{ALICE}/x",
        f"p2p/{SOUTH}/inbox/{ALICE}/x",
        f"box/{ALICE}/events/x",
        f"box/{ALICE}/collections/skin/mock.zip",
        f"box/{ALICE}/bundles/{SOUTH}.json",
        f"p2p/{NORTH}/reports/{'a' * 64}/model.safetensors",
        f"p2p/{SOUTH}/reports/{'a' * 64}/report.json",
        "elsewhere",
        "../outside",
        f"p2p/{NORTH}/inbox/../../x",
        "/etc/passwd",
    ],
)
@pytest.mark.parametrize("how", ["files", "gone"])
def test_the_office_cannot_write_what_is_the_hospitals_or_nobodys(pair: Pair, path: str, how: str) -> None:
    put(pair.north, f"box/{NORTH}/pin.json", b"mine")
    put(pair.office, f"p2p/{NORTH}/inbox/{ALICE}/good")
    good = File(f"p2p/{NORTH}/inbox/{ALICE}/good", b"")
    ask = Ask((good, File(path, b"forged")), (), {}) if how == "files" else Ask((good,), (path,), {})
    with pytest.raises(TrustError):
        courier.answer(pair.north, NORTH, ask)
    assert pair.north.get(pair.north.at("box", NORTH, "pin.json")) == b"mine"
    assert not there(pair.north, good.path)


@pytest.mark.parametrize(
    "path", [f"box/{ALICE}/pin.json", f"box/{SOUTH}/pin.json", f"p2p/{NORTH}/inbox/{ALICE}/x", f"p2p/{SOUTH}/outbox/{ALICE}/x"]
)
@pytest.mark.parametrize("how", ["files", "gone"])
def test_a_hospital_cannot_write_what_is_anothers(pair: Pair, path: str, how: str) -> None:
    put(pair.office, path, b"theirs")
    answer = Answer((File(path, b"forged"),), (), {}, ()) if how == "files" else Answer((), (path,), {}, ())
    with pytest.raises(TrustError):
        pair.courier.take(answer)
    assert pair.office.get(pair.office.find(path)) == b"theirs"


def test_a_hospital_cannot_have_anothers_message_forgotten(pair: Pair) -> None:
    put(pair.office, f"p2p/{SOUTH}/inbox/{ALICE}/one")
    with pytest.raises(TrustError):
        pair.courier.take(Answer((), (), {}, (f"p2p/{SOUTH}/inbox/{ALICE}/one",)))
    assert there(pair.office, f"p2p/{SOUTH}/inbox/{ALICE}/one")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_refused_by_name(data: bytes) -> None:
    for decode in (courier.decode_ask, courier.decode_answer):
        with pytest.raises(MessageError):
            decode(data)
        with pytest.raises(MessageError):
            decode(courier.PREFIX + b"\xc1" + data)


def test_a_file_that_cannot_be_carried_holds_up_none_of_the_others(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protocol.governance.pysyft.share._MAX_BYTES", 100)
    folder = pair.office.at("p2p", NORTH, "inbox", ALICE)
    folder.mkdir(parents=True)
    (folder / "huge").write_bytes(b"x" * 101)
    put(pair.office, f"p2p/{NORTH}/inbox/{ALICE}/one", b"sealed")
    pair.carry()
    assert there(pair.north, f"p2p/{NORTH}/inbox/{ALICE}/one")
    assert not there(pair.north, f"p2p/{NORTH}/inbox/{ALICE}/huge")


@pytest.mark.parametrize("how", ["files", "gone"])
def test_nothing_is_written_or_taken_away_through_a_link_that_leads_outside(pair: Pair, tmp_path: Path, how: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "one").write_bytes(b"the hospital's own")
    pair.north.at("p2p", NORTH, "inbox").mkdir(parents=True)
    pair.north.at("p2p", NORTH, "inbox", ALICE).symlink_to(outside)
    path = f"p2p/{NORTH}/inbox/{ALICE}/one"
    with pytest.raises(TrustError, match="leads outside"):
        courier.answer(pair.north, NORTH, Ask((File(path, b"forged"),), (), {}) if how == "files" else Ask((), (path,), {}))
    assert (outside / "one").read_bytes() == b"the hospital's own"


def test_a_link_or_a_pipe_on_the_share_is_not_read(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"key")
    (pair.north.root / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(pair.north.root / "pipe")
    for name, why in (("link", "is a link"), ("pipe", "is no file")):
        with pytest.raises(TrustError, match=why):
            pair.north.get(pair.north.at(name))


def test_a_flood_by_one_sender_waits_and_keeps_nobody_else_out(pair: Pair) -> None:
    inbox = f"p2p/{NORTH}/inbox"
    flood = [f"{inbox}/{ALICE}/{number:04d}" for number in range(3 * INBOX.files)]
    for path in flood:
        put(pair.office, path)
    put(pair.office, f"{inbox}/{BOB}/one")  # after alice's in every order
    for round_ in (1, 2, 3):
        pair.carry()
        held = pair.north.names(pair.north.find(f"{inbox}/{ALICE}"))
        assert len(held) == INBOX.files
        assert there(pair.north, f"{inbox}/{BOB}/one")
        archive = pair.north.at("p2p", NORTH, "archive", ALICE)
        archive.mkdir(parents=True, exist_ok=True)
        for name in held:  # the hospital takes them, and the next ones come
            pair.north.find(f"{inbox}/{ALICE}/{name}").rename(archive / name)
        assert len(pair.north.names(archive)) == round_ * INBOX.files
    pair.carry()
    assert not [path for path in flood if there(pair.office, path)]


def test_a_hospital_takes_no_more_of_one_sender_than_an_honest_courier_brings(pair: Pair) -> None:
    many = tuple(File(f"p2p/{NORTH}/inbox/{ALICE}/{number:04d}", b"x") for number in range(2 * INBOX.files + 1))
    with pytest.raises(TrustError, match="more messages of one sender"):
        courier.answer(pair.north, NORTH, Ask(many, (), {}))
    assert len(pair.north.names(pair.north.at("p2p", NORTH, "inbox", ALICE))) == 2 * INBOX.files


def test_what_waits_at_the_office_is_not_taken_for_gone_where_both_have_one_folder(tmp_path: Path) -> None:
    share = Share(tmp_path)
    for number in range(INBOX.files):
        put(share, f"p2p/{NORTH}/inbox/{ALICE}/{number + 1:04d}")
    one = Courier(share, NORTH)
    one.take(courier.answer(share, NORTH, one.ask()))
    put(share, f"p2p/{NORTH}/inbox/{ALICE}/0000")  # before all others in order: another no longer is of the oldest
    one.take(courier.answer(share, NORTH, one.ask()))
    assert len(share.names(share.at("p2p", NORTH, "inbox", ALICE))) == INBOX.files + 1


@given(st.lists(st.integers(0, 40), max_size=30), st.integers(1, 9), st.integers(1, 90))
def test_the_oldest_are_within_the_bound_and_never_none(sizes: list[int], files: int, size: int) -> None:
    with TemporaryDirectory() as name:
        share, bound = Share(Path(name)), Bound(files, size)
        for number, length in enumerate(sizes):
            put(share, f"x/{number:02d}", bytes(length))
        found = [path.name for path in oldest(share, share.at("x"), bound)]
        assert found == [f"{number:02d}" for number in range(len(found))]
        assert (len(found) >= 1) == bool(sizes)
        assert len(found) == 1 or (len(found) <= files and sum(sizes[: len(found)]) <= size) or not found
        gone = drop_oldest(share, share.at("x"), bound)
        left = share.names(share.at("x"))
        assert len(left) == len(sizes) - gone
        assert len(left) <= files
        assert sum(sizes[int(one)] for one in left) <= size


def test_together_senders_stay_within_what_a_hospital_holds() -> None:
    for parties in (1, 16, 17, 40, 5000):
        each = INBOX.shared_by(parties)
        assert each.files >= 1
        assert each.files * parties <= max(16 * INBOX.files, parties)
    assert INBOX.shared_by(3) == INBOX
    assert ARCHIVE.files > 2 * INBOX.files  # or a message would come a second time before the courier heard that it was taken
