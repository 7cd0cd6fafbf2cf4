"""One conformance suite for every transport: each offers `carry(handlers)`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from threading import Event

import pytest

from protocol.errors import TransportError
from protocol.transport.base import Failure, Handler, Transport
from protocol.transport.in_process import InProcessTransport
from tests.protocol.nats_federation import Federation
from tests.protocol.nats_server import Server, shared_server

Carry = Callable[[Mapping[str, Handler]], Transport]

__all__ = ["shared_server"]


@pytest.fixture(params=["in_process", "nats"])
def carry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Carry]:
    with ExitStack() as stack:

        def in_process(handlers: Mapping[str, Handler]) -> Transport:
            transport = InProcessTransport(handlers)
            stack.callback(transport.close)
            return transport

        def nats(handlers: Mapping[str, Handler]) -> Transport:
            server: Server = request.getfixturevalue("shared_server")
            federation = Federation(server, tmp_path, handlers)
            stack.callback(federation.close)
            return federation.transport

        yield nats if request.param == "nats" else in_process


def echo(name: str) -> Handler:
    return lambda data: name.encode() + b":" + data


def test_each_silo_gets_its_own_request_and_answers_once(carry: Carry) -> None:
    transport = carry({name: echo(name) for name in "abc"})
    replies = sorted(transport.exchange({"a": b"1", "c": b"3"}, 5.0), key=lambda reply: reply[0])
    assert replies == [("a", b"a:1"), ("c", b"c:3")]
    assert transport.silos == ("a", "b", "c")


def test_one_request_for_all_reaches_everybody_and_nobody_else(carry: Carry) -> None:
    transport = carry({name: echo(name) for name in "abcd"})
    request = b"the same" * 1000
    for asked in ("abcd", "abc", "ab", "a"):
        assert dict(transport.exchange(dict.fromkeys(asked, request), 5.0)) == {
            name: name.encode() + b":" + request for name in asked
        }


def test_an_empty_request_and_an_empty_reply_travel(carry: Carry) -> None:
    assert dict(carry({"a": lambda data: data}).exchange({"a": b""}, 5.0)) == {"a": b""}


def test_large_replies_arrive_whole(carry: Carry) -> None:
    payload = bytes(range(256)) * 40_000
    assert dict(carry({"a": echo("a")}).exchange({"a": payload}, 30.0))["a"] == b"a:" + payload


def test_an_unknown_silo_is_refused_before_anything_is_sent(carry: Carry) -> None:
    seen: list[bytes] = []

    def handler(data: bytes) -> bytes:
        seen.append(data)
        return data

    with pytest.raises(TransportError, match="no such silo: z"):
        list(carry({"a": handler}).exchange({"a": b"", "z": b""}, 1.0))
    assert not seen


def test_a_silo_that_raises_is_a_failure_and_the_others_go_on(carry: Carry) -> None:
    def broken(_: bytes) -> bytes:
        raise RuntimeError("patient MRN-1234")

    replies = dict(carry({"a": broken, "b": echo("b")}).exchange({"a": b"", "b": b""}, 5.0))
    assert isinstance(replies["a"], Failure)
    assert "MRN" not in replies["a"].reason
    assert replies["b"] == b"b:"


def test_a_silo_that_hangs_times_out_then_is_busy_then_comes_back(carry: Carry) -> None:
    release = Event()
    calls: list[bytes] = []

    def slow(data: bytes) -> bytes:
        calls.append(data)
        if data == b"hang":
            release.wait(30)
        return data

    transport = carry({"a": slow, "b": echo("b")})
    first = dict(transport.exchange({"a": b"hang", "b": b"1"}, 1.0))
    assert isinstance(first["a"], Failure)
    assert first["a"].kind == "timeout"
    assert first["b"] == b"b:1"
    second = dict(transport.exchange({"a": b"2", "b": b"2"}, 0.5))
    assert isinstance(second["a"], Failure)
    assert second["a"].kind == "busy"
    assert calls == [b"hang"]
    release.set()
    for _ in range(100):
        third = dict(transport.exchange({"a": b"3"}, 5.0))["a"]
        if third == b"3":
            break
        time.sleep(0.02)
    assert third == b"3"
