"""Nurseries and nodes that die, limits that are reached, machines that cannot keep code apart."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from privacy.sandbox import Limits, Sandbox, available, kernel, landlock
from privacy.sandbox.readable import readable_paths
from protocol.errors import CodeError
from tests.privacy.sandbox.conftest import LIMITS, TASKS

SLEEP = "def attack(state, given, arrays):\n    import time\n    time.sleep(3600)\n"


@pytest.fixture(scope="module")
def quiet() -> Iterator[Sandbox]:
    """A sandbox as at a hospital: it tells nothing. One processor second and one second a call."""
    with Sandbox(TASKS, Limits(memory_bytes=LIMITS.memory_bytes, cpu_seconds=1, call_seconds=5)) as sandbox:
        yield sandbox


def soon() -> float:
    return time.monotonic() + 30


def gone(number: int) -> bool:
    """Whether process `number` has ended, within seconds."""
    for _ in range(100):
        try:
            if Path(f"/proc/{number}/stat").read_text().rpartition(") ")[2][0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.1)
    return False


def nursery_of(box: Sandbox) -> int:
    assert box._nursery is not None
    return box._nursery.pid


def test_a_hospital_is_told_the_same_whatever_failed(quiet: Sandbox) -> None:
    texts = set()
    for body in ("1 / 0", "raise ValueError('pixels')", "import os; os._exit(1)", "return {}, {'x': 1}", "open('/etc/passwd')"):
        with quiet.fresh() as fork, pytest.raises(CodeError) as caught:
            fork.call("run", {"source": f"def attack(*a):\n    {body}\n"}, {}, deadline=soon())
        texts.add(str(caught.value))
        assert caught.value.__cause__ is None
    with quiet.fresh() as fork, pytest.raises(CodeError) as caught:
        fork.call("run", {"source": SLEEP}, {}, deadline=time.monotonic() + 0.3)
    texts.add(str(caught.value))
    assert len(texts) == 1


def test_the_processor_s_time_is_limited_over_the_whole_life(quiet: Sandbox) -> None:
    start = time.monotonic()
    with quiet.fresh() as fork, pytest.raises(CodeError):
        fork.call("run", {"source": "while True: pass\n"}, {}, deadline=soon())
    assert time.monotonic() - start < 4.9  # its second of the processor, not its five of the clock


def test_a_nursery_that_died_is_an_error_once_and_then_another_comes(quiet: Sandbox) -> None:
    with quiet.fresh() as fork:
        fork.call("remember", {}, {}, deadline=soon())
        old = nursery_of(quiet)
        os.kill(old, signal.SIGKILL)
        with pytest.raises(CodeError):
            fork.call("run", {"source": SLEEP}, {}, deadline=soon())
    for _ in range(2):
        with quiet.fresh() as fork:
            assert fork.call("remember", {}, {}, deadline=soon())[0] == {"calls": 1}
    assert nursery_of(quiet) != old


NODE = """
import sys, threading, time
from privacy.sandbox import Sandbox, Limits
box = Sandbox({tasks!r}, Limits())
forks = []
def start():  # by a thread that ends before the process does
    for _ in range(2):
        forks.append(box.fresh())
        forks[-1].call("remember", {{}}, {{}}, deadline=time.monotonic() + 30)
thread = threading.Thread(target=start); thread.start(); thread.join()
time.sleep(1)
forks[0].call("remember", {{}}, {{}}, deadline=time.monotonic() + 30)
print(box._nursery.pid, flush=True)
try:
    forks[0].call("run", {{"source": {sleep!r}}}, {{}}, deadline=time.monotonic() + 300)
except BaseException as error:
    print(repr(error), flush=True)
"""


def test_no_process_stays_when_the_node_is_killed() -> None:
    script = NODE.format(tasks=TASKS, sleep=SLEEP)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as node:
        assert node.stdout is not None
        nursery = int(node.stdout.readline())
        forks = [int(p.parent.name) for p in Path("/proc").glob("[0-9]*/stat") if is_child(p, nursery)]
        assert len(forks) == 2
        node.kill()
    assert all(gone(number) for number in (nursery, *forks))


def is_child(stat: Path, parent: int) -> bool:
    try:
        return int(stat.read_text().rpartition(") ")[2].split()[1]) == parent
    except OSError:
        return False


def test_a_nursery_inherits_nothing_of_the_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDWARD_SECRET", "the-word")
    with (tmp_path / "ledger").open("w") as ledger, Sandbox(TASKS, LIMITS, [tmp_path]) as box:
        os.set_inheritable(ledger.fileno(), True)
        with box.fresh() as fork:
            fork.call("remember", {}, {}, deadline=soon())
            nursery = nursery_of(box)
            for number in (nursery, *(int(p.parent.name) for p in Path("/proc").glob("[0-9]*/stat") if is_child(p, nursery))):
                assert b"the-word" not in Path(f"/proc/{number}/environ").read_bytes()
                targets = {str(one.readlink()) for one in Path(f"/proc/{number}/fd").iterdir()}
                assert all(target.startswith(("/dev/null", "socket:", "anon_inode:[pidfd]")) for target in targets), targets
                assert {"NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000"} <= set(
                    Path(f"/proc/{number}/status").read_text().splitlines()
                )


def test_closing_ends_every_process_at_once_whatever_it_does() -> None:
    with Sandbox(TASKS, LIMITS) as box:
        fork = box.fresh()
        fork.call("remember", {}, {}, deadline=soon())
        with pytest.raises(CodeError):
            fork.call("run", {"source": SLEEP}, {}, deadline=time.monotonic() + 0.2)
        nursery = nursery_of(box)
        forks = [int(p.parent.name) for p in Path("/proc").glob("[0-9]*/stat") if is_child(p, nursery)]
        assert len(forks) == 1
    assert not any(Path(f"/proc/{number}").exists() for number in (nursery, *forks))
    box.close()
    fork.close()
    with pytest.raises(CodeError, match="closed"):
        box.fresh()


def test_a_machine_without_walls_runs_nothing_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(says: str) -> None:
        assert says in (available() or "")
        with pytest.raises(CodeError, match=says):
            Sandbox(TASKS, LIMITS)

    with monkeypatch.context() as patch:
        patch.setattr(landlock, "version", lambda: 0)
        refused("Landlock")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "darwin")
        refused("Linux")
    with monkeypatch.context() as patch:
        patch.setattr(kernel, "machine", lambda: "riscv64")
        refused("riscv64")
    with monkeypatch.context() as patch:
        patch.setattr(kernel, "prctl", lambda *a: (_ for _ in ()).throw(OSError(22, "Invalid argument")))
        refused("seccomp")


WITHOUT = """
import sys
from privacy.sandbox import Sandbox, Limits, available, kernel, parent, seccomp
from protocol.errors import CodeError
kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
steps = [seccomp.Step(0x20, 0), seccomp.Step(0x15, {denied}, 0, 1), seccomp._denied(1), seccomp.Step(0x06, 0x7FFF0000)]
seccomp.install(steps)
print(available())
parent.available = lambda: None  # as if it had not been asked: the nursery finds out for itself
try:
    Sandbox("tests.privacy.sandbox.tasks").fresh()
    print("it ran")
except CodeError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers of x86-64")
@pytest.mark.parametrize(
    ("denied", "says"),
    [(444, "Landlock"), (446, "None"), (126, "None"), (157, "seccomp")],
    ids=["no Landlock", "no restricting", "no dropping of capabilities", "no prctl"],
)
def test_a_nursery_that_cannot_shut_itself_in_makes_no_fork(denied: int, says: str) -> None:
    script = WITHOUT.format(denied=denied)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    first, second = done.stdout.strip().splitlines()
    assert says in first
    assert "cannot be run on this machine: it cannot be shut in" in second


def test_a_folder_that_would_be_readable_inside_is_refused(tmp_path: Path) -> None:
    import torch

    with pytest.raises(CodeError, match="can read"):
        readable_paths([Path(torch.__file__).parent / "ledger"], TASKS)
    (tmp_path / "innocent").symlink_to(Path(os.__file__).parent)
    with pytest.raises(CodeError, match="innocent"):
        readable_paths([tmp_path / "innocent"], TASKS)
    assert not any(tmp_path.is_relative_to(path) for path in readable_paths([tmp_path], TASKS))


def test_a_wall_that_is_not_there_is_noticed_before_a_fork_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from privacy.sandbox import start

    monkeypatch.setattr(start, "readable_paths", lambda hidden, tasks: ["/"])
    with Sandbox(TASKS, LIMITS, [tmp_path]) as box, pytest.raises(CodeError, match="can still be read inside"):
        box.fresh()


def test_tasks_that_are_not_there_are_named() -> None:
    with Sandbox("tests.privacy.sandbox.nowhere", LIMITS) as box, pytest.raises(CodeError, match="nowhere"):
        box.fresh()
    with Sandbox("nowhere.tasks", LIMITS) as box, pytest.raises(CodeError, match="nowhere"):
        box.fresh()
