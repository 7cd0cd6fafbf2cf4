"""A request that ends the process which handles it comes back for ever; a node that remembers gives it up."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

from protocol.transport.base import Failure
from protocol.transport.nats import Sizes
from protocol.transport.nats.memory import Memory
from tests.protocol.nats_federation import Federation
from tests.protocol.nats_server import Server, server

__all__ = ["server"]

SOON = Sizes(broadcast=1 << 28, down=1 << 28, up=1 << 28, redeliver_s=3.0)


def test_a_request_at_which_the_node_died_three_times_is_refused_and_the_next_one_is_answered(
    server: Server, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "tests.protocol.nats_party", "deadly", server.url, str(tmp_path), "a"]
    with closing(Federation(server, tmp_path, {}, SOON)) as federation:
        federation.transport.close()
        federation.transport = federation.new_transport(("a",))
        replies: dict[str, bytes | Failure] = {}
        runner = threading.Thread(target=lambda: replies.update(federation.transport.exchange({"a": b"deadly"}, 60.0)))
        runner.start()
        lives = 0
        while runner.is_alive() and lives < 6:
            node = subprocess.Popen(command)
            lives += 1
            while node.poll() is None and runner.is_alive():
                runner.join(0.1)
        try:
            assert replies == {"a": Failure("crashed", "NodeDiedEachTime")}
            assert (tmp_path / "a.deaths").read_text() == "xxx"
            assert lives == 4
            assert dict(federation.transport.exchange({"a": b"harmless"}, 60.0)) == {"a": b"a:harmless"}
        finally:
            node.kill()
            node.wait()


def test_only_what_a_process_did_not_live_through_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "inbox.json"
    first, other = "11" * 16, "22" * 16
    assert [Memory(path).begin(first) for _ in range(3)] == [0, 1, 2]
    assert Memory(path).begin(other) == 0  # another one: the first is over for the aggregator too
    memory = Memory(path)
    assert memory.begin(other) == 1
    memory.lived()
    assert Memory(path).begin(other) == 0
    memory = Memory(path)
    memory.keep(memory.now)
    assert Memory(path).now.begun is not None
    memory.keep(type(memory.now)(sequence=7))
    assert Memory(path).begin(other) == 0
    assert Memory(path).now.sequence == 7
