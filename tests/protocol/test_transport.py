"""One conformance suite for every transport: each offers `carry(handlers)`, and more will join IN_USE."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from threading import Event

import pytest

from protocol.errors import TransportError
from protocol.transport.base import Failure, Handler, Transport
from protocol.transport.in_process import InProcessTransport

Carry = Callable[[Mapping[str, Handler]], Transport]
IN_USE: list[Carry] = [InProcessTransport]


@pytest.fixture(params=IN_USE)
def carry(request: pytest.FixtureRequest) -> Carry:
    return request.param  # type: ignore[no-any-return]


def echo(name: str) -> Handler:
    return lambda data: name.encode() + b":" + data


def test_each_silo_gets_its_own_request_and_answers_once(carry: Carry) -> None:
    transport = carry({name: echo(name) for name in "abc"})
    replies = list(transport.exchange({"a": b"1", "c": b"3"}, 5.0))
    assert replies == [("a", b"a:1"), ("c", b"c:3")]
    assert transport.silos == ("a", "b", "c")


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
    first = dict(transport.exchange({"a": b"hang", "b": b"1"}, 0.2))
    assert isinstance(first["a"], Failure)
    assert first["a"].kind == "timeout"
    assert first["b"] == b"b:1"
    second = dict(transport.exchange({"a": b"2", "b": b"2"}, 0.2))
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
