"""What comes over one connection is cut into the messages that were sent, wherever the network cuts it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.transport.nats.client import Parser
from protocol.transport.nats.shelf import LARGE, Shelf
from protocol.transport.nats.wire import Large, Wire

Got = tuple[int, bytes, bytes, bytes, bytes | None]


class Party:
    """Stands where nats-py's client stands; keeps what it is given."""

    def __init__(self) -> None:
        self.got: list[Got] = []
        self.pings = 0

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: Any, header: bytes | None) -> None:
        self.got.append((sid, subject, reply, bytes(data), header))

    async def _process_ping(self) -> None:
        self.pings += 1


class Reading:
    """A transport that only knows whether it is being read."""

    aborted = paused = False

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def abort(self) -> None:
        self.aborted = True


def said(message: Got) -> bytes:
    number, subject, reply, data, header = message
    words = [subject, str(number).encode(), *([reply] if reply else [])]
    if header is None:
        return b" ".join([b"MSG", *words, str(len(data)).encode()]) + b"\r\n" + data + b"\r\n"
    sizes = [str(len(header)).encode(), str(len(header) + len(data)).encode()]
    return b" ".join([b"HMSG", *words, *sizes]) + b"\r\n" + header + data + b"\r\n"


def feed(wire: Wire, data: bytes, cuts: list[int]) -> None:
    turn = 0
    while data:
        room = wire.get_buffer(-1)
        count = min(len(room), cuts[turn % len(cuts)], len(data))
        room[:count], data, turn = data[:count], data[count:], turn + 1
        wire.buffer_updated(count)


async def heard(data: bytes, cuts: list[int]) -> Party:
    wire, party = Wire(Shelf(4)), Party()
    wire.connection_made(Reading())  # type: ignore[arg-type]
    parser = Parser(party)
    feed(wire, data, cuts)
    wire.eof_received()
    while not wire.at_eof():
        await parser.parse(await wire.read())
    return party


MESSAGES = st.lists(
    st.tuples(
        st.integers(1, 99),
        st.sampled_from([b"fl.hb.a", b"_INBOX.x.1"]),
        st.sampled_from([b"", b"reply.to"]),
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from([LARGE - 1, LARGE, LARGE + 1, 3 * LARGE]).map(lambda n: (b"\r\nMSG a 1 9\r\n" * n)[:n]),
        ),
        st.sampled_from([None, b"NATS/1.0\r\nNats-Sequence: 7\r\n\r\n"]),
    ),
    max_size=5,
)


@given(MESSAGES, st.lists(st.one_of(st.integers(1, 30), st.integers(10_000, 300_000)), min_size=1, max_size=6))
@settings(max_examples=80, deadline=None)
def test_messages_of_any_size_come_whole_and_in_order_wherever_they_are_cut(messages: list[Got], cuts: list[int]) -> None:
    cuts = [*cuts, 50_000]  # a hundred thousand steps of one byte show nothing more
    party = asyncio.run(heard(b"PING\r\n" + b"+OK\r\n".join(map(said, messages)) + b"PING\r\n", cuts))
    assert party.got == messages
    assert party.pings == 2


def test_a_message_that_somebody_still_reads_is_never_written_over() -> None:
    shelf = Shelf(1)
    first = shelf.take(LARGE)
    first[:4] = b"held"
    part = first[:4]
    del first
    shelf.take(LARGE)[:4] = b"new!"
    assert bytes(part) == b"held"
    part.release()
    shelf.take(LARGE)[:4] = b"more"
    again = shelf.take(LARGE - 1)
    assert bytes(again[:4]) == b"more"  # the same memory, once nobody looks at it


def test_a_shelf_keeps_nothing_much_larger_than_what_is_asked_for() -> None:
    shelf = Shelf(1)
    shelf.take(10 * LARGE)
    shelf.take(LARGE)
    assert sum(map(len, shelf._kept)) == LARGE
    assert len(shelf.take(0)) == 0


async def hears(data: bytes) -> tuple[Reading, Wire]:
    wire, transport = Wire(Shelf(4)), Reading()
    wire.connection_made(transport)  # type: ignore[arg-type]
    feed(wire, data, [60_000])
    return transport, wire


@pytest.mark.parametrize("data", [b"MSG a 1 999999999999\r\n", b"x" * 200_000])
def test_a_broker_that_claims_or_says_without_end_is_cut_off(data: bytes) -> None:
    transport, _ = asyncio.run(hears(data))
    assert transport.aborted


def test_a_broker_waits_while_large_messages_are_not_taken() -> None:
    async def run() -> None:
        message = said((1, b"a", b"", bytes(4 << 20), None))
        transport, wire = await hears(3 * message)
        assert transport.paused
        for _ in range(2):
            assert isinstance(await wire.read(), Large)
        assert not transport.paused

    asyncio.run(run())
