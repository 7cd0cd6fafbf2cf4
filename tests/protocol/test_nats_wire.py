"""The wire over NATS: what is genuine arrives whole in any order, everything else is dropped and harms nothing."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import MessageError, TransportError
from protocol.identity import Identity
from protocol.transport.nats import signed, transfer
from protocol.transport.nats.desk import Desk
from protocol.transport.nats.heartbeat import Heartbeat, Notice, open_heartbeat
from protocol.transport.nats.heartbeat import seal as seal_heartbeat
from protocol.transport.nats.memory import Memory, Remembered
from protocol.transport.nats.streams import Sizes, sizes_for
from protocol.transport.nats.subjects import check_name
from protocol.transport.nats.transfer import Envelope, Parcel, Transfer, open_chunk, pack
from tests.protocol.wire_keys import AGGREGATOR, STRANGER

Wire = list[bytes]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 8 bytes, so that short texts are many chunks."""
    for module in ("transfer", "assembly"):
        monkeypatch.setattr(f"protocol.transport.nats.{module}.CHUNK_BYTES", 8)


def request(data: bytes, sequence: int = 1, **changes: Any) -> Parcel:
    fields: dict[str, Any] = {"consortium": "c", "kind": "request", "sender": "aggregator", "receivers": {"a": sequence}}
    return pack(data, **{**fields, **changes})


def wire(parcel: Parcel, identity: Identity = AGGREGATOR) -> Wire:
    return [parcel.chunk(identity, index) for index in range(parcel.transfer.chunks)]


def desk(remembered: Remembered | None = None) -> Desk:
    return Desk("a", AGGREGATOR.public_key, "c", remembered or Remembered())


def taken(one: Desk) -> bytes | None:
    task = one.take()
    return None if task is None else task.data


@given(data=st.binary(max_size=100), order=st.randoms(use_true_random=False), repeats=st.integers(1, 3))
def test_chunks_arrive_whole_in_any_order_and_as_often_as_they_like(data: bytes, order: random.Random, repeats: int) -> None:
    one, chunks = desk(), wire(request(data)) * repeats
    order.shuffle(chunks)
    for number, chunk in enumerate(chunks):
        verdict = one.receive("DOWN_a", chunk, str(number))
        assert verdict.dropped is None
        assert verdict.done == ()  # nothing is let go before it is answered
    task = one.take()
    assert task is not None
    assert task.data == data
    assert one.take() is None
    done = one.answered(task)
    assert len(done) == task.transfer.chunks
    assert one.deliveries == ()


@given(data=st.binary(min_size=1, max_size=60), at=st.integers(0, 10_000), to=st.integers(0, 255))
def test_one_altered_byte_anywhere_and_nothing_of_it_is_used(data: bytes, at: int, to: int) -> None:
    chunks = wire(request(data))
    victim = bytearray(chunks[0])
    at %= len(victim)
    if victim[at] == to:
        return
    victim[at] = to
    one = desk()
    verdict = one.receive("DOWN_a", bytes(victim), "x")
    assert verdict.dropped is not None
    assert not verdict.harmless
    assert verdict.done == ("x",)
    assert one.deliveries == ()
    for number, chunk in enumerate(chunks):  # the genuine ones still get through
        one.receive("DOWN_a", chunk, str(number))
    assert taken(one) == data


@given(data=st.binary(min_size=1, max_size=60), cut=st.integers(1, 10_000), more=st.binary(max_size=4))
def test_truncated_and_lengthened_messages_are_dropped(data: bytes, cut: int, more: bytes) -> None:
    chunk = wire(request(data))[-1]
    for changed in (chunk[: -(cut % len(chunk) or 1)], chunk + more + b"!"):
        assert desk().receive("DOWN_a", changed, "x").dropped is not None


@settings(max_examples=300)
@given(st.binary(max_size=400))
def test_noise_is_dropped_without_a_crash(noise: bytes) -> None:
    framed = signed._START.pack(b"FWN1", max(0, len(noise) - 64)) + noise
    for data in (
        noise,
        framed,
        signed.seal(AGGREGATOR, transfer.TAG, noise),
        signed.seal(AGGREGATOR, "fedward.heartbeat/1", noise),
    ):
        one = desk()
        assert one.receive("BCAST", data, "x").dropped is not None
        assert not one.busy
        with pytest.raises(MessageError):
            open_heartbeat(data, {"a": AGGREGATOR.public_key}, "c")


@given(
    st.dictionaries(
        st.sampled_from([*Transfer.__struct_fields__, "more"]),
        st.one_of(
            st.none(),
            st.integers(-(2**60), 2**60),
            st.text(max_size=40),
            st.binary(max_size=40),
            st.just({}),
            st.just({"a": -1}),
        ),
        min_size=1,
        max_size=4,
    ),
    st.integers(-2, 2**40),
)
def test_headers_of_wrong_shape_are_dropped_even_if_they_are_signed(changes: dict[str, Any], index: int) -> None:
    parcel = request(b"12345678abc")
    fields = {**msgspec.to_builtins(parcel.transfer, builtin_types=(bytes,)), **changes}
    header = msgspec.msgpack.encode({"transfer": fields, "index": index, "chunk": parcel.digests[0]})
    one = desk()
    one.receive("DOWN_a", signed.seal(AGGREGATOR, transfer.TAG, header, b"12345678"), "x")
    assert not one.busy
    assert len(one.deliveries) <= 1


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_a_claim_of_more_than_a_message_may_have_takes_no_memory() -> None:
    parcel = request(b"12345678")
    huge = msgspec.structs.replace(parcel.transfer, size=transfer.MAX_BYTES + 1)
    header = msgspec.msgpack.encode(Envelope(huge, 0, parcel.digests[0]))
    with pytest.raises(MessageError):
        open_chunk(signed.seal(AGGREGATOR, transfer.TAG, header, b"12345678"), {"aggregator": AGGREGATOR.public_key}, "a", "c")
    last = msgspec.structs.replace(parcel.transfer, size=transfer.MAX_BYTES)
    header = msgspec.msgpack.encode(Envelope(last, 0, parcel.digests[0]))
    one, before = desk(), resident_mb()
    assert one.receive("DOWN_a", signed.seal(AGGREGATOR, transfer.TAG, header, b"12345678"), "x").dropped is None
    assert resident_mb() - before < 64  # room for it is named, its pages come with its bytes


@pytest.mark.parametrize(
    "changes",
    [{"consortium": "other"}, {"sender": "a"}, {"sender": "stranger"}, {"kind": "reply"}, {"receivers": {"b": 1}}],
    ids=lambda changes: next(iter(changes)),
)
def test_what_is_not_from_the_aggregator_to_this_silo_is_dropped(changes: dict[str, Any]) -> None:
    verdict = desk().receive("DOWN_a", wire(request(b"x", **changes))[0], "x")
    assert verdict.dropped is not None
    assert verdict.done == ("x",)
    assert verdict.harmless == ("receivers" in changes)  # a broadcast to others is nothing to worry about


def test_a_stranger_with_the_aggregators_name_is_not_heard() -> None:
    assert desk().receive("DOWN_a", wire(request(b"x"), STRANGER)[0], "x").dropped is not None


def test_chunks_of_two_transfers_do_not_mix() -> None:
    first, second = request(b"1234567812345678", 1), request(b"abcdefghabcdefgh", 2)
    forged = msgspec.structs.replace(second.transfer, id=first.transfer.id)
    mixed = Parcel(forged, second.data, second.digests)
    one = desk()
    one.receive("DOWN_a", wire(first)[0], "0")
    assert one.receive("DOWN_a", wire(mixed)[1], "1").dropped is not None
    one.receive("DOWN_a", wire(first)[1], "2")
    assert taken(one) == b"1234567812345678"


def test_a_replayed_request_is_not_answered_again_even_after_a_restart(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "inbox.json")
    one, old = desk(memory.now), wire(request(b"old", 5))[0]
    one.receive("DOWN_a", old, "0")
    task = one.take()
    assert task is not None
    one.answered(task)
    memory.keep(Remembered(task.sequence, Notice(task.transfer.id, "0" * 32, 1)))
    verdict = one.receive("BCAST", old, "1")
    assert (verdict.done, verdict.harmless) == (("1",), False)
    restarted = desk(Memory(tmp_path / "inbox.json").now)
    assert restarted.receive("DOWN_a", old, "2").dropped is not None
    assert taken(restarted) is None
    assert restarted.receive("DOWN_a", wire(request(b"new", 6))[0], "3").dropped is None
    assert taken(restarted) == b"new"


def test_a_request_that_was_not_answered_is_taken_again_after_a_restart() -> None:
    chunk = wire(request(b"x"))[0]
    one = desk()
    one.receive("DOWN_a", chunk, "0")
    assert taken(one) == b"x"
    assert taken(desk()) is None
    again = desk()
    again.receive("DOWN_a", chunk, "1")
    assert taken(again) == b"x"


def test_a_request_in_hand_that_is_delivered_again_is_answered_once() -> None:
    one, chunk = desk(), wire(request(b"x"))[0]
    one.receive("DOWN_a", chunk, "0")
    task = one.take()
    assert task is not None
    assert one.receive("DOWN_a", chunk, "1").dropped is None
    assert one.deliveries == ("1",)
    assert one.take() is None
    assert one.answered(task) == ("1",)


def test_a_later_request_takes_the_place_of_one_that_never_became_whole() -> None:
    one, half, whole = desk(), wire(request(b"1234567812345678", 1)), wire(request(b"x", 2))
    one.receive("DOWN_a", half[0], "0")
    assert one.receive("DOWN_a", whole[0], "1").done == ("0",)
    task = one.take()
    assert task is not None
    assert task.data == b"x"
    one.answered(task)
    assert one.receive("DOWN_a", half[1], "2").dropped is not None
    assert one.deliveries == ()


def test_a_damaged_memory_stops_the_silo_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "inbox.json").write_bytes(b"{")
    with pytest.raises(TransportError, match=r"inbox\.json is damaged\. Delete it"):
        Memory(tmp_path / "inbox.json")


def test_a_heartbeat_is_its_silos_own() -> None:
    beat = Heartbeat("c", "a", "0" * 32, 1, "ready", "", 0, None)
    data = seal_heartbeat(STRANGER, beat)
    keys = {"a": STRANGER.public_key, "b": AGGREGATOR.public_key}
    assert open_heartbeat(data, keys, "c") == beat
    for wrong in (seal_heartbeat(AGGREGATOR, beat), data + b"x", data[:-1]):
        with pytest.raises(MessageError):
            open_heartbeat(wrong, keys, "c")
    with pytest.raises(MessageError):
        open_heartbeat(data, keys, "another")


@pytest.mark.parametrize("name", ["", "A", "a.b", "a>", "*", "a b", "-a", "a_b", "aggregator", "x" * 64])
def test_a_name_that_could_reach_another_subject_is_refused(name: str) -> None:
    with pytest.raises(TransportError, match="cannot name a silo"):
        check_name(name)


@pytest.mark.parametrize("silos", [3, 10, 50])
@pytest.mark.parametrize("max_file", [10**10, 2 * 10**10, 10**12])
def test_streams_of_any_number_of_silos_fit_into_the_broker_s_disk_or_are_refused(silos: int, max_file: int) -> None:
    found, usual = sizes_for(max_file, silos), Sizes()
    assert found.broadcast * 2 + silos * (found.down + found.up) <= max_file
    assert (found.broadcast, found.down, found.up) <= (usual.broadcast, usual.down, usual.up)
    with pytest.raises(TransportError, match="storage-gb"):
        sizes_for(10**8, silos)
