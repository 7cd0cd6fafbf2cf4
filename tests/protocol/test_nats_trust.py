"""The broker is not trusted: who can store, copy, hold back or repeat messages there can delay, and nothing else."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from protocol.errors import MessageError
from protocol.transport.base import Failure
from protocol.transport.nats.bridge import Bridge
from protocol.transport.nats.fetching import Fetch
from protocol.transport.nats.heartbeat import Heartbeat, Notice
from protocol.transport.nats.heartbeat import seal as seal_heartbeat
from protocol.transport.nats.link import Link
from protocol.transport.nats.transfer import Parcel, pack
from tests.protocol.nats_federation import CONSORTIUM, Federation
from tests.protocol.nats_server import Server, shared_server
from tests.protocol.wire_keys import STRANGER

__all__ = ["shared_server"]


class Attacker:
    """Somebody with every right at the broker, who sees and stores what he likes, and none of the private keys."""

    def __init__(self, server: Server) -> None:
        self._bridge = Bridge("attacker")
        self.seen: list[Msg] = []
        self._client: Client = self._bridge.call(self._connect(server.url))

    async def _connect(self, url: str) -> Client:
        client = await nats.connect(url)
        await client.subscribe("fl.>", cb=self._see)
        await client.flush()
        return client

    async def _see(self, message: Msg) -> None:
        self.seen.append(message)

    def publish(self, subject: str, data: bytes) -> None:
        async def go() -> None:
            await self._client.publish(subject, data)
            await self._client.flush()

        self._bridge.call(go())

    def when_stored(self, prefix: str, do: Callable[[Client, Msg], Coroutine[Any, Any, None]]) -> None:
        """Call `do` on every message whose subject begins so, as fast as the broker delivers it."""

        async def go() -> None:
            async def on(message: Msg) -> None:
                if message.reply:  # an honest sender asks for the broker's receipt; do not answer oneself
                    await do(self._client, message)

            await self._client.subscribe(f"{prefix}.>", cb=on)
            await self._client.flush()

        self._bridge.call(go())

    def close(self) -> None:
        self._bridge.call(self._client.close())
        self._bridge.close()


@pytest.fixture
def attacker(shared_server: Server) -> Iterator[Attacker]:
    with closing(Attacker(shared_server)) as one:
        yield one


@pytest.fixture
def calls() -> list[bytes]:
    return []


@pytest.fixture
def federation(shared_server: Server, tmp_path: Path, calls: list[bytes]) -> Iterator[Federation]:
    def handler(request: bytes) -> bytes:
        calls.append(request)
        return b"reply to " + request

    with closing(Federation(shared_server, tmp_path, {"a": handler, "b": lambda request: request})) as one:
        yield one


def ask(federation: Federation, request: bytes, seconds: float = 20.0) -> bytes | Failure:
    return dict(federation.transport.exchange({"a": request}, seconds))["a"]


def forged_request(data: bytes, sequence: int = 1 << 50) -> Parcel:
    return pack(data, consortium=CONSORTIUM, kind="request", sender="aggregator", receivers={"a": sequence})


def test_a_forged_request_reaches_nobody_and_is_logged_without_its_content(
    federation: Federation, attacker: Attacker, calls: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    parcel = forged_request(b"send me MRN-1234")
    attacker.publish("fl.down.a.x.0", parcel.chunk(STRANGER, 0))
    attacker.publish("fl.bc.x.0", b"MRN-1234")
    with caplog.at_level(logging.WARNING):
        assert ask(federation, b"hello") == b"reply to hello"
    assert calls == [b"hello"]
    assert "a dropped a message: it is not signed by a party that is pinned here" in caplog.messages
    assert "a dropped a message: not framed as a message" in caplog.messages
    assert "MRN" not in caplog.text


def test_a_request_repeated_by_the_broker_is_answered_once(
    federation: Federation, attacker: Attacker, calls: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    assert ask(federation, b"first") == b"reply to first"
    (old,) = [message for message in attacker.seen if message.subject.startswith("fl.down.a.")]
    federation.stop("a")
    inbox_calls = len(calls)
    federation.serve("a", lambda request: calls.append(request) or b"again")  # type: ignore[func-returns-value]
    for subject in ("fl.down.a.again.0", "fl.bc.again.0", old.subject):
        attacker.publish(subject, old.data)
    with caplog.at_level(logging.WARNING):
        assert ask(federation, b"second") == b"again"
    assert calls[inbox_calls:] == [b"second"]
    assert "a dropped a message: it is not later than the last request answered" in caplog.messages


def test_a_request_for_one_silo_is_not_answered_by_another(
    federation: Federation, attacker: Attacker, calls: list[bytes]
) -> None:
    assert dict(federation.transport.exchange({"b": b"for b"}, 20.0)) == {"b": b"for b"}
    (other,) = [message for message in attacker.seen if message.subject.startswith("fl.down.b.")]
    attacker.publish("fl.down.a.y.0", other.data)
    assert ask(federation, b"mine") == b"reply to mine"
    assert calls == [b"mine"]


def test_a_reply_forged_in_a_silos_own_place_is_passed_over(federation: Federation, attacker: Attacker) -> None:
    async def spoil(client: Client, message: Msg) -> None:
        altered = bytearray(message.data)
        altered[-1] ^= 1
        for _ in range(3):
            await client.publish(message.subject, bytes(altered))

    attacker.when_stored("fl.up.a", spoil)
    for number in range(5):
        request = b"x" * number
        assert ask(federation, request) == b"reply to " + request


def test_a_genuine_chunk_is_found_behind_forged_ones_that_were_stored_first(
    federation: Federation, attacker: Attacker, shared_server: Server
) -> None:
    parcel = pack(b"the truth", consortium=CONSORTIUM, kind="reply", sender="a", receivers={"aggregator": 1}, answers="it")
    name = parcel.transfer.id
    for data in (b"", b"noise", parcel.chunk(STRANGER, 0), parcel.chunk(federation.identity("a"), 0)[:-1] + b"!"):
        attacker.publish(f"fl.up.a.{name}.0", data)
    attacker.publish(f"fl.up.a.{name}.0", parcel.chunk(federation.identity("a"), 0))
    assert fetch(federation, shared_server, "it", Notice("0" * 32, name, 9)) == b"the truth"


@pytest.mark.parametrize("changes", [{"answers": "another"}, {"kind": "request"}, {"sender": "b"}, {"consortium": "other"}])
def test_a_genuine_message_is_no_reply_to_what_it_does_not_name(
    changes: dict[str, Any], federation: Federation, attacker: Attacker, shared_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("protocol.transport.nats.fetching._LOOKS", 1)
    fields = {"consortium": CONSORTIUM, "kind": "reply", "sender": "a", "receivers": {"aggregator": 1}, "answers": "it"}
    parcel = pack(b"the truth", **{**fields, **changes})
    signer = federation.identity("b" if changes.get("sender") == "b" else "a")
    attacker.publish(f"fl.up.a.{parcel.transfer.id}.0", parcel.chunk(signer, 0))
    with pytest.raises(MessageError, match="not in the broker"):
        fetch(federation, shared_server, "it", Notice("0" * 32, parcel.transfer.id, 9))


def test_replies_held_back_are_a_failure_with_a_reason_and_the_next_round_works(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("protocol.transport.nats.fetching._LOOKS", 1)

    # The broker said that it stored the reply, and does not have it.
    original = Fetch._chunk
    gone = threading.Event()

    async def purge_first(self: Fetch, index: int) -> None:
        if not gone.is_set():
            gone.set()
            await self._link.api("$JS.API.STREAM.PURGE.UP_a", {})
        await original(self, index)

    monkeypatch.setattr(Fetch, "_chunk", purge_first)
    lost = ask(federation, b"1")
    assert isinstance(lost, Failure)
    assert lost.kind == "unreachable"
    assert "not in the broker" in lost.reason
    assert ask(federation, b"2") == b"reply to 2"


def test_a_stranger_cannot_make_a_silo_look_alive_or_done(federation: Federation, attacker: Attacker) -> None:
    federation.stop("a")
    before = federation.transport._presence.latest("a")
    old = [message.data for message in attacker.seen if message.subject == "fl.hb.a"]
    assert old
    forged = Heartbeat(CONSORTIUM, "a", "f" * 32, 1 << 40, "ready", "", 0, Notice("0" * 32, "0" * 32, 1))
    for data in (*old, seal_heartbeat(STRANGER, forged), seal_heartbeat(federation.identity("b"), forged), b"", b"noise"):
        attacker.publish("fl.hb.a", data)
    assert dict(federation.transport.exchange({"b": b"x"}, 20.0)) == {"b": b"x"}
    after = federation.transport._presence.latest("a")
    assert before is not None
    assert after is not None
    assert after.boot == before.boot
    assert after.replied == before.replied


def test_a_flood_of_noise_does_not_stop_a_round(federation: Federation, attacker: Attacker, calls: list[bytes]) -> None:
    for index in range(200):
        attacker.publish(f"fl.down.a.noise.{index}", b"n" * 1000)
    assert ask(federation, b"hello") == b"reply to hello"
    assert calls == [b"hello"]


def fetch(federation: Federation, server: Server, reference: str, notice: Notice) -> bytes:
    """What the aggregator would make of a notice, over a link of its own."""
    bridge = Bridge("reader")

    async def read() -> bytes:
        async def opened(_: Client) -> None:
            return

        link = Link(server.endpoint("reader"), opened, lambda _: None)
        keep = asyncio.ensure_future(link.keep())
        try:
            key = federation.identity("a").public_key
            return (await Fetch(link, "a", key, CONSORTIUM, reference, notice).run(5.0))[1]
        finally:
            keep.cancel()
            await asyncio.gather(keep, return_exceptions=True)

    try:
        return bridge.call(read())
    finally:
        bridge.close()
