"""Half a minute in which the broker is killed and silos come and go at random: every request is answered, rightly, once."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from protocol.transport.base import Handler
from tests.protocol.nats_federation import Federation
from tests.protocol.nats_server import Server, server

__all__ = ["server"]

NAMES = "abc"


@pytest.mark.slow
def test_in_disorder_every_request_is_answered_rightly_and_handled_once(server: Server, tmp_path: Path) -> None:
    chance, end, handled, expected = random.Random(), time.monotonic() + 30, Counter[str](), Counter[str]()

    def answering(name: str) -> Handler:
        def handler(request: bytes) -> bytes:
            handled[name] += 1
            time.sleep(chance.random() / 5)
            return name.encode() + request

        return handler

    with closing(Federation(server, tmp_path, {name: answering(name) for name in NAMES})) as federation:

        def disturb() -> None:
            while time.monotonic() < end:
                time.sleep(3 * chance.random())
                if chance.random() < 0.4:
                    server.kill()
                    time.sleep(chance.random())
                    server.start()
                else:
                    name = chance.choice(NAMES)
                    federation.stop(name)
                    time.sleep(chance.random())
                    federation.serve(name, answering(name))

        trouble = threading.Thread(target=disturb)
        trouble.start()
        while time.monotonic() < end:
            request = chance.randbytes(chance.choice([10, 1000, 5 << 20, 20 << 20]))
            asked = chance.choice(["abc", "ab", "a"])
            replies = dict(federation.transport.exchange(dict.fromkeys(asked, request), 60.0))
            assert replies == {name: name.encode() + request for name in asked}
            expected.update(asked)
        trouble.join()
    assert handled == expected
