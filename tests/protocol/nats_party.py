"""One party as a process of its own, for tests that kill it or weigh its memory.

python -m tests.protocol.nats_party silos URL FOLDER NAMES        answers each request with its name and the request
python -m tests.protocol.nats_party slow URL FOLDER NAME          the same, but the first request of all takes for ever
python -m tests.protocol.nats_party deadly URL FOLDER NAME        the same, but the request "deadly" ends the process
python -m tests.protocol.nats_party aggregator URL FOLDER NAMES MIB   one exchange; prints peak memory in MiB before and after
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

from protocol.transport.base import Failure, Handler
from protocol.transport.nats import Endpoint, NatsInbox, NatsTransport, Sizes
from tests.protocol.nats_server import new_identity


def silos(url: str, folder: Path, names: list[str], slow: bool = False, deadly: bool = False) -> None:
    aggregator = new_identity(folder, "aggregator").public_key

    def make(name: str) -> tuple[NatsInbox, Handler]:
        def handler(request: bytes) -> bytes:
            mark = folder / f"{name}.taken"
            if slow and not mark.exists():
                mark.touch()
                time.sleep(600)
            if deadly and request == b"deadly":
                with (folder / f"{name}.deaths").open("a") as deaths:
                    deaths.write("x")
                os.kill(os.getpid(), signal.SIGKILL)
            return name.encode() + b":" + request

        memory = folder / f"{name}.inbox.json"
        identity = new_identity(folder, name)
        return NatsInbox(Endpoint(url, name), identity, name, aggregator, consortium="test", memory=memory), handler

    for inbox, handler in [make(name) for name in names]:
        threading.Thread(target=inbox.serve, args=(handler,)).start()


def aggregator(url: str, folder: Path, names: list[str], mib: int) -> None:
    sizes = Sizes(broadcast=1 << 29, down=1 << 20, up=1 << 29)
    keys = {name: new_identity(folder, name).public_key for name in names}
    transport = NatsTransport(
        Endpoint(url, "aggregator"), new_identity(folder, "aggregator"), keys, consortium="test", sizes=sizes
    )
    request = bytes(mib << 20)
    before, total = _peak_mib(), 0
    for silo, reply in transport.exchange(dict.fromkeys(names, request), 120.0):
        assert not isinstance(reply, Failure), reply
        assert reply == silo.encode() + b":" + request
        total += len(reply)
        del reply
    print(before, _peak_mib(), total, flush=True)
    transport.close()


def _peak_mib() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) // 1024


if __name__ == "__main__":
    role, at, where, who = sys.argv[1:5]
    if role == "aggregator":
        aggregator(at, Path(where), who.split(","), int(sys.argv[5]))
    else:
        silos(at, Path(where), who.split(","), slow=role == "slow", deadly=role == "deadly")
