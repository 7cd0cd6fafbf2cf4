"""Real brokers and real processes that are killed, cut off, stopped and started again: nothing is lost, nothing done twice."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from protocol.errors import TransportError
from protocol.transport.base import Failure, Handler
from protocol.transport.nats import Endpoint, NatsInbox, NatsTransport, Sizes, heartbeat, link, session
from tests.protocol.nats_federation import CONSORTIUM, SMALL, Federation
from tests.protocol.nats_server import Server, new_identity, server, shared_server
from tests.protocol.relay import Relay

__all__ = ["server", "shared_server"]

MIB = 1 << 20


@pytest.fixture(autouse=True)
def talkative(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silos of this process say twice a second that they live."""
    monkeypatch.setattr(heartbeat, "EVERY_S", 0.5)


def counting(calls: list[bytes], name: str = "") -> Handler:
    def handler(request: bytes) -> bytes:
        calls.append(request)
        return name.encode() + request

    return handler


def wait_for(what: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@contextmanager
def party(role: str, server: Server, folder: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.protocol.nats_party", role, server.url, str(folder), *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("after_s", [0.05, 0.3])
def test_a_broker_killed_in_the_middle_of_a_transfer_and_restarted_loses_nothing(
    after_s: float, server: Server, tmp_path: Path
) -> None:
    calls: dict[str, list[bytes]] = {"a": [], "b": []}
    request = bytes(range(256)) * (48 * MIB // 256)
    with closing(Federation(server, tmp_path, {name: counting(calls[name]) for name in calls})) as federation:
        replies: dict[str, bytes | Failure] = {}
        runner = threading.Thread(
            target=lambda: replies.update(federation.transport.exchange(dict.fromkeys(calls, request), 60.0))
        )
        runner.start()
        time.sleep(after_s)
        server.kill()
        assert not replies
        time.sleep(0.5)
        server.start()
        runner.join(60)
        assert replies == {"a": request, "b": request}
        assert calls == {"a": [request], "b": [request]}


def test_a_silo_that_is_stopped_gives_its_request_back_and_its_next_start_answers_it(
    shared_server: Server, tmp_path: Path
) -> None:
    calls: list[bytes] = []
    with closing(Federation(shared_server, tmp_path, {"a": counting(calls), "b": counting([])})) as federation:
        assert dict(federation.transport.exchange({"a": b"1"}, 10.0)) == {"a": b"1"}
        federation.stop("a")
        wait_for(lambda: federation.transport.liveness()["a"].state == "leaving")
        threading.Timer(1.0, federation.serve, ("a", counting(calls))).start()
        start = time.monotonic()
        assert dict(federation.transport.exchange({"a": b"2"}, 20.0)) == {"a": b"2"}
        assert time.monotonic() - start < 5
        assert calls == [b"1", b"2"]


def test_stop_waits_for_the_request_in_hand_and_sends_its_reply(shared_server: Server, tmp_path: Path) -> None:
    entered, release = threading.Event(), threading.Event()

    def handler(request: bytes) -> bytes:
        entered.set()
        release.wait(20)
        return request

    with closing(Federation(shared_server, tmp_path, {"a": handler})) as federation:
        exchange = federation.transport.exchange({"a": b"x"}, 20.0)
        threading.Thread(
            target=lambda: (entered.wait(20), federation.inboxes["a"].stop(), time.sleep(0.2), release.set())
        ).start()
        assert dict(exchange) == {"a": b"x"}
        federation.stop("a")


def test_a_request_whose_deadline_passed_while_the_silo_was_away_is_never_worked_on(
    shared_server: Server, tmp_path: Path
) -> None:
    calls: list[bytes] = []
    with closing(Federation(shared_server, tmp_path, {name: counting(calls) for name in "ab"})) as federation:
        assert len(dict(federation.transport.exchange({"a": b"1", "b": b"1"}, 10.0))) == 2
        federation.stop("a")
        late = dict(federation.transport.exchange({"a": b"2", "b": b"2"}, 0.5))["a"]
        assert isinstance(late, Failure)
        assert late.kind == "timeout"
        federation.serve("a", counting(calls))
        assert dict(federation.transport.exchange({"a": b"3", "b": b"3"}, 10.0)) == {"a": b"3", "b": b"3"}
        assert sorted(calls) == [b"1", b"1", b"2", b"3", b"3"]


def test_a_restarted_aggregator_asks_again_and_hears_no_old_reply(shared_server: Server, tmp_path: Path) -> None:
    calls: list[bytes] = []
    with closing(Federation(shared_server, tmp_path, {name: counting(calls) for name in "ab"})) as federation:
        exchange = federation.transport.exchange({"a": b"old", "b": b"old"}, 10.0)
        next(exchange)  # killed before it took in the second reply
        federation.transport.close()
        federation.transport = federation.new_transport(("a", "b"))
        assert dict(federation.transport.exchange({"a": b"new", "b": b"new"}, 10.0)) == {"a": b"new", "b": b"new"}


def test_an_aggregator_whose_clock_went_back_is_understood(
    shared_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[bytes] = []
    with closing(Federation(shared_server, tmp_path, {"a": counting(calls)})) as federation:
        assert dict(federation.transport.exchange({"a": b"1"}, 10.0)) == {"a": b"1"}
        federation.transport.close()
        now = time.time_ns()
        monkeypatch.setattr("protocol.transport.nats.outgoing.time.time_ns", lambda: now - 300 * 10**9)
        federation.transport = federation.new_transport(("a",))
        assert dict(federation.transport.exchange({"a": b"2"}, 20.0)) == {"a": b"2"}
        assert calls == [b"1", b"2"]


def test_a_silo_that_was_never_there_does_not_hold_up_the_round_until_its_deadline(
    shared_server: Server, tmp_path: Path
) -> None:
    with closing(Federation(shared_server, tmp_path, {"a": counting([])})) as federation:
        federation.transport.close()
        keys = {name: new_identity(tmp_path, name).public_key for name in ("a", "ghost")}
        federation.transport = NatsTransport(
            shared_server.endpoint("aggregator"),
            new_identity(tmp_path, "aggregator"),
            keys,
            consortium=CONSORTIUM,
            sizes=SMALL,
            lost_after_s=1.5,
        )
        wait_for(lambda: federation.transport.liveness()["a"].state == "alive")
        start = time.monotonic()
        replies = dict(federation.transport.exchange({"a": b"x", "ghost": b"x"}, 600.0))
        assert time.monotonic() - start < 20
        assert replies["a"] == b"x"
        assert isinstance(replies["ghost"], Failure)
        assert replies["ghost"].kind == "unreachable"
        assert federation.transport.liveness()["ghost"].state == "never seen"


def test_sixteen_silos_answer_through_one_broker(shared_server: Server, tmp_path: Path) -> None:
    names = [f"silo-{i}" for i in range(16)]
    sizes = Sizes(broadcast=64 * MIB, down=16 * MIB, up=16 * MIB)
    with closing(Federation(shared_server, tmp_path, {n: counting([], n) for n in names}, sizes)) as federation:
        for _ in range(3):
            replies = dict(federation.transport.exchange(dict.fromkeys(names, b"x" * 1000), 20.0))
            assert replies == {name: name.encode() + b"x" * 1000 for name in names}


def test_a_connection_that_is_cut_and_comes_back_goes_on_where_it_was(shared_server: Server, tmp_path: Path) -> None:
    request = bytes(24 * MIB)
    calls: list[bytes] = []
    with closing(Federation(shared_server, tmp_path, {})) as federation, closing(Relay(shared_server.port)) as relay:
        federation.transport.close()
        federation.transport = federation.new_transport(("a",))
        inbox = NatsInbox(
            Endpoint(relay.url, "a"),
            new_identity(tmp_path, "a"),
            "a",
            new_identity(tmp_path, "aggregator").public_key,
            consortium=CONSORTIUM,
        )
        thread = threading.Thread(target=inbox.serve, args=(counting(calls),))
        thread.start()
        try:
            exchange = federation.transport.exchange({"a": request}, 60.0)
            threading.Timer(0.15, relay.reset).start()
            assert dict(exchange) == {"a": request}
            assert calls == [request]
        finally:
            inbox.stop()
            thread.join(30)


def test_a_silo_that_the_broker_refuses_for_long_stops_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "_REFUSED_FOR_S", 0.5)
    server = Server(tmp_path / "nats", 'authorization { user: "somebody", password: "else" }\n')
    try:
        inbox = NatsInbox(server.endpoint("a"), new_identity(tmp_path, "a"), "a", bytes(32))
        with pytest.raises(TransportError, match="refuses this user"):
            inbox.serve(lambda request: request)
    finally:
        server.stop()


def test_a_broker_for_small_messages_only_is_named_as_the_cause(tmp_path: Path) -> None:
    server = Server(tmp_path / "nats")
    text = (tmp_path / "nats" / "server.conf").read_text()
    (tmp_path / "nats" / "server.conf").write_text(text.replace("max_payload: 8MB", "max_payload: 1MB"))
    server.stop()
    server.start()
    try:
        with pytest.raises(TransportError, match="set max_payload: 8MB"):
            NatsTransport(server.endpoint("aggregator"), new_identity(tmp_path, "x"), {"a": bytes(32)}, sizes=SMALL)
    finally:
        server.stop()


def test_streams_that_do_not_fit_the_broker_are_named(shared_server: Server, tmp_path: Path) -> None:
    with pytest.raises(TransportError, match="max_file"):
        Federation(shared_server, tmp_path, {"huge": counting([])}, Sizes(up=1 << 50))


@pytest.mark.slow
def test_a_silo_killed_in_the_middle_of_a_request_answers_it_after_its_restart(server: Server, tmp_path: Path) -> None:
    with closing(Federation(server, tmp_path, {}, lost_after_s=7.0)) as federation:
        federation.transport.close()
        federation.transport = federation.new_transport(("a",))
        replies: dict[str, bytes | Failure] = {}
        request = b"x" * (9 * MIB)
        runner = threading.Thread(target=lambda: replies.update(federation.transport.exchange({"a": request}, 90.0)))
        with party("slow", server, tmp_path, "a") as first:
            runner.start()
            wait_for((tmp_path / "a.taken").exists)
            time.sleep(8)  # longer than the broker waits: the silo holds on to its request
            assert federation.transport.liveness()["a"].working
            first.send_signal(signal.SIGKILL)
            first.wait()
        wait_for(lambda: federation.transport.liveness()["a"].state == "lost", 12)
        with party("slow", server, tmp_path, "a"):
            runner.join(60)
        assert replies == {"a": b"a:" + request}


@pytest.mark.slow
def test_a_network_cut_of_twenty_seconds_delays_and_loses_nothing(server: Server, tmp_path: Path) -> None:
    calls: list[bytes] = []
    with closing(Federation(server, tmp_path, {})) as federation, closing(Relay(server.port)) as relay:
        federation.transport.close()
        federation.transport = federation.new_transport(("a",))
        inbox = NatsInbox(
            Endpoint(relay.url, "a"),
            new_identity(tmp_path, "a"),
            "a",
            new_identity(tmp_path, "aggregator").public_key,
            consortium=CONSORTIUM,
        )
        thread = threading.Thread(target=inbox.serve, args=(counting(calls),))
        thread.start()
        try:
            assert dict(federation.transport.exchange({"a": b"1"}, 20.0)) == {"a": b"1"}
            relay.hole()
            threading.Timer(20, relay.heal).start()
            start = time.monotonic()
            assert dict(federation.transport.exchange({"a": bytes(9 * MIB)}, 90.0)) == {"a": bytes(9 * MIB)}
            assert time.monotonic() - start < 45
            assert len(calls) == 2
        finally:
            inbox.stop()
            thread.join(30)


@pytest.mark.slow
def test_the_aggregators_memory_does_not_grow_with_the_number_of_silos(server: Server, tmp_path: Path) -> None:
    used = {}
    for count in (2, 8):
        names = ",".join(f"s{count}-{i}" for i in range(count))
        with party("silos", server, tmp_path, names), party("aggregator", server, tmp_path, names, "40") as one:
            assert one.stdout is not None
            before, after, total = map(int, one.stdout.readline().split())
        assert total > count * 40 * MIB
        used[count] = after - before
    assert used[8] < used[2] + 60  # MiB; six more replies are 240, and where the allocator puts chunks makes a difference of 30
    assert max(used.values()) < 180


def test_a_reply_that_cannot_be_sent_while_the_silo_is_told_to_stop_is_made_again_later(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_REPLY_WITHIN_AT_STOP_S", 0.3)
    calls: list[bytes] = []
    entered, release = threading.Event(), threading.Event()

    def handler(request: bytes) -> bytes:
        calls.append(request)
        entered.set()
        release.wait(20)
        return request

    with closing(Federation(server, tmp_path, {"a": handler})) as federation:
        replies: dict[str, bytes | Failure] = {}
        runner = threading.Thread(target=lambda: replies.update(federation.transport.exchange({"a": b"x"}, 60.0)))
        runner.start()
        assert entered.wait(20)
        server.kill()
        release.set()
        federation.stop("a")
        server.start()
        federation.serve("a", handler)
        runner.join(60)
        assert replies == {"a": b"x"}
        assert calls == [b"x", b"x"]
