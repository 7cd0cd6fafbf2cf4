"""A plan's module that fails, hangs, grows, lies or dies: the caller gets a CodeError in time, and the next fork is as new."""

from __future__ import annotations

import json
import platform
import struct
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privacy.sandbox import Sandbox
from privacy.sandbox.seccomp import for_fork
from privacy.sandbox.syscalls import NUMBERS, PLAIN
from protocol.errors import CodeError

ARGUED = ("futex", "fcntl", "prctl", "prlimit64", "tgkill", "open", "openat", "madvise", "getpid", "gettid", "getppid")
"""Calls that are allowed by their arguments, or answered with nothing."""
ATTACK = "def attack(state, given, arrays):\n"

DEATHS = {
    "memory": "    x = bytearray(2**30)\n    return {'got': len(x)}, {}\n",
    "memory bit by bit": "    x = []\n    while True:\n        x.append(bytearray(2**20))\n",
    "memory by torch": "    import torch\n    return {'got': float(torch.ones(2**28).sum())}, {}\n",
    "processor": "    while True:\n        pass\n",
    "sleep": "    import time\n    time.sleep(3600)\n",
    "exit": "    import os\n    os._exit(0)\n",
    "sys.exit": "    import sys\n    sys.exit(0)\n",
    "segmentation fault": "    import ctypes\n    ctypes.string_at(0)\n",
    "abort": "    import os\n    os.abort()\n",
    "bus error": "    import ctypes\n    getattr(ctypes.CDLL(None), 'raise')(7)\n",
    "stopped": "    import ctypes\n    getattr(ctypes.CDLL(None), 'raise')(19)\n",
    "interrupt": "    raise KeyboardInterrupt\n",
    "recursion": "    attack(state, given, arrays)\n",
    "nothing": "    return None\n",
    "no JSON": "    return {'x': object()}, {}\n",
    "no array": "    return {}, {'x': [1, 2]}\n",
    "objects": "    import numpy\n    return {}, {'x': numpy.array([object()])}\n",
    "its channel closed": "    import os\n    os.close(3)\n    return {}, {}\n",
    "strange error": "    class E(Exception):\n        def __str__(self):\n            raise ValueError\n    raise E\n",
    "error of errors": "    class E(BaseException):\n        __class__ = property(lambda s: 1 / 0)\n    raise E\n",
}


def alive(box: Sandbox) -> None:
    with box.fresh() as fork:
        assert fork.call("remember", {}, {}, deadline=time.monotonic() + 20)[0] == {"calls": 1}


def children(box: Sandbox) -> list[int]:
    """Numbers of the nursery's living forks."""
    assert box._nursery is not None
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(") ")[2].split()
        except OSError:
            continue
        if int(fields[1]) == box._nursery.pid:
            found.append(int(stat.parent.name))
    return found


@pytest.mark.parametrize("death", DEATHS)
def test_whatever_ends_a_fork_is_one_error_and_no_more(box: Sandbox, attack: Callable[..., Any], death: str) -> None:
    alive(box)
    start = time.monotonic()
    with pytest.raises(CodeError):
        attack(ATTACK + DEATHS[death], seconds=1.5 if death in ("processor", "sleep", "stopped") else 20)
    assert time.monotonic() - start < 10
    assert children(box) == []
    alive(box)


def header(**fields: Any) -> bytes:
    data = json.dumps(fields).encode()
    return struct.pack(">I", len(data)) + data


def array(name: str = "x", type: str = "float32", shape: Any = (1,)) -> dict[str, Any]:
    return {"name": name, "type": type, "shape": list(shape)}


NINES = b'{"values":{"a":' + b"9" * 100_000 + b"}}"

LIES = {
    "huge number": struct.pack(">I", len(NINES)) + NINES,
    "huge header": b"\xff\xff\xff\xff",
    "empty header": b"\0\0\0\0",
    "half a header": struct.pack(">I", 100) + b"{",
    "not JSON": struct.pack(">I", 4) + b"\x80\x04N.",
    "not a number": struct.pack(">I", 20) + b'{"values":{"a":NaN}}',
    "deep": struct.pack(">I", 10 + 2 * 100_000 + 1) + b'{"values":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "another kind of header": header(pickle="x"),
    "a question": header(task="echo"),
    "negative length": header(arrays=[array(shape=[-1])]),
    "huge array": header(arrays=[array(shape=[2**40] * 4)]),
    "no bytes of a huge array": header(arrays=[array(shape=[0, *[2**40] * 3])]),
    "above what may come": header(arrays=[array(shape=[2**19])]),
    "many arrays above it": header(arrays=[array(name=str(n), shape=[1000]) for n in range(1000)]),
    "too many arrays": header(arrays=[array(name=str(n), shape=[0]) for n in range(10_001)]),
    "twice": header(arrays=[array(), array()]) + b"\0" * 8,
    "objects": header(arrays=[array(type="O")]) + b"\0" * 8,
    "too many dimensions": header(arrays=[array(shape=[1] * 17)]) + b"\0" * 4,
    "less than said": header(arrays=[array(shape=[100])]) + b"\0",
    "a fraction": header(arrays=[array(shape=[0.5])]),
    "true": header(arrays=[array(shape=[True])]) + b"\0" * 4,
}


@pytest.mark.parametrize("lie", LIES)
def test_bytes_that_are_no_answer_are_refused(box: Sandbox, lie: str) -> None:
    source = (
        ATTACK + "    import os\n    data = bytes(arrays['data'])\n    while data:\n        data = data[os.write(3, data):]\n"
    )
    source += "    os._exit(0)\n"
    with box.fresh() as fork, pytest.raises(CodeError):
        fork.call("run", {"source": source}, {"data": np.frombuffer(LIES[lie], np.uint8)}, deadline=time.monotonic() + 20)
    alive(box)


def test_an_answer_drop_by_drop_is_cut_off_at_the_deadline(box: Sandbox) -> None:
    source = ATTACK + "    import os, time\n    while True:\n        os.write(3, b'\\0')\n        time.sleep(0.2)\n"
    start = time.monotonic()
    with box.fresh() as fork, pytest.raises(CodeError, match="longer than it may"):
        fork.call("run", {"source": source.replace("b'\\0'", "b'\\0\\x10'")}, {}, deadline=start + 1.5)
    assert time.monotonic() - start < 4


def test_thousands_of_answers_are_not_taken_for_those_of_later_questions(box: Sandbox) -> None:
    answer = header(values={"calls": 99})
    source = ATTACK + f"    import os\n    for _ in range(1000):\n        os.write(3, {answer!r})\n    return {{}}, {{}}\n"
    with box.fresh() as fork:
        assert fork.call("run", {"source": source}, {}, deadline=time.monotonic() + 20)[0] == {"calls": 99}
        time.sleep(0.3)
        with pytest.raises(CodeError, match="without being asked"):
            fork.call("remember", {}, {}, deadline=time.monotonic() + 20)
    alive(box)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ("{'x': numpy.zeros((2, 3), 'float32')}", None),
        ("{'x': numpy.zeros((3, 2), 'float32')}", "asked for float32"),
        ("{'x': numpy.zeros(6, 'float32')}", "asked for float32"),
        ("{'x': numpy.zeros((2, 3))}", "asked for float32"),
        ("{'x': numpy.full((2, 3), numpy.nan, 'float32')}", "not finite"),
        ("{'x': numpy.full((2, 3), -numpy.inf, 'float32')}", "not finite"),
        ("{'y': numpy.zeros((2, 3), 'float32')}", "other arrays"),
        ("{'x': numpy.zeros((2, 3), 'float32'), 'y': numpy.zeros(0)}", "other arrays"),
        ("{}", "other arrays"),
    ],
)
def test_only_the_arrays_that_were_asked_for_come_out(box: Sandbox, arrays: str, says: str | None) -> None:
    source = f"import numpy\n{ATTACK}    return {{}}, {arrays}\n"
    with box.fresh() as fork, pytest.raises(CodeError, match=says) if says else nullcontext():
        wanted = {"x": ("float32", (2, 3))}
        _, found = fork.call("run", {"source": source}, {}, deadline=time.monotonic() + 20, answer=wanted)
        assert found["x"].shape == (2, 3)


def test_an_answer_is_no_longer_than_the_asker_has_room_for(box: Sandbox) -> None:
    with box.fresh() as fork:
        given = {"x": np.zeros(100, dtype=np.float32)}
        assert fork.call("echo", {}, given, deadline=time.monotonic() + 20, most_bytes=400)[1].keys() == {"x"}
        with pytest.raises(CodeError, match="more than 399 bytes"):
            fork.call("echo", {}, given, deadline=time.monotonic() + 20, most_bytes=399)
    for most, longer in ((None, False), (400, True)):
        with box.fresh() as fork, pytest.raises(CodeError, match="a longer header") if longer else nullcontext():
            fork.call("echo", {"x": "y" * 70_000}, {}, deadline=time.monotonic() + 20, most_bytes=most)


def test_nothing_that_one_fork_changes_is_there_in_the_next(attack: Callable[..., Any]) -> None:
    leave = """
import atexit, builtins, os, random, sys, numpy, torch
from privacy.sandbox import fork, wire, module
import tests.privacy.sandbox.tasks as tasks
def attack(state, given, arrays):
    found = [name for name, here in (
        ("state", "left" in state), ("builtins", hasattr(builtins, "left")), ("torch", hasattr(torch, "left")),
        ("environment", "LEFT" in os.environ), ("modules", "left" in sys.modules), ("class", hasattr(torch.nn.Linear, "left")),
        ("task", hasattr(tasks, "left")), ("wire", wire.pack.__name__ != "pack"),
        ("dtype", torch.get_default_dtype() != torch.float32)) if here]
    draws = [random.random(), float(torch.rand(1)), float(numpy.random.rand())]
    state["left"] = builtins.left = torch.left = torch.nn.Linear.left = tasks.left = 1
    os.environ["LEFT"] = "1"
    sys.modules["left"] = sys
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(5), random.seed(5), numpy.random.seed(5)
    atexit.register(os.write, 3, b"bye")
    wire.pack = fork._write = lambda *a: None
    os.fork = os._exit = print
    real = {"found": found, "draws": draws}
    import msgspec
    data = msgspec.json.encode({"values": real})
    os.write(3, len(data).to_bytes(4, "big") + data)
    return {}, {}
"""
    first = attack(leave, [])
    assert first["found"] == []
    assert attack(leave, []) == first


@pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers of x86-64")
def test_every_other_system_call_is_denied_whatever_its_number(attack: Callable[..., Any]) -> None:
    allowed = {NUMBERS[name][0] for name in (*PLAIN, *ARGUED)}
    source = f"""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def attack(state, given, arrays):
    got = []
    for number in set(range(1024)) - {allowed!r} - {{335, 336}}:  # uretprobe, uprobe: end who calls them, before seccomp
        ctypes.set_errno(0)
        result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(0)] * 6)
        if result != -1 or ctypes.get_errno() not in (1, 11, 25, 38):
            got.append(number)
    for number, words in given:
        ctypes.set_errno(0)
        result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(word) for word in words])
        if result != -1 or ctypes.get_errno() != 1:
            got.append((number, words))
    return {{"got": got}}, {{}}
"""
    prctl, prlimit, fcntl, futex, tgkill, madvise, opened = (
        NUMBERS[name][0] for name in ("prctl", "prlimit64", "fcntl", "futex", "tgkill", "madvise", "open")
    )
    allowed_otherwise = [
        (prctl, [1, 0, 0, 0, 0, 0]),  # PR_SET_PDEATHSIG
        (prctl, [4, 1, 0, 0, 0, 0]),  # PR_SET_DUMPABLE
        (prctl, [22, 2, 0, 0, 0, 0]),  # PR_SET_SECCOMP
        (prlimit, [0, 9, -1, 0, 0, 0]),  # a new limit
        (prlimit, [1, 9, 0, 0, 0, 0]),  # another's
        (fcntl, [3, 8, 1, 0, 0, 0]),  # F_SETOWN
        (fcntl, [3, 6, 0, 0, 0, 0]),  # F_SETLK
        (futex, [0, 1, 1, 0, 0, 0]),  # FUTEX_WAKE, not private
        (futex, [0, 137, 1, 0, 0, 0]),  # FUTEX_WAIT_BITSET: until a time
        (tgkill, [1, 1, 9, 0, 0, 0]),
        (madvise, [0, 0, 21, 0, 0, 0]),  # MADV_PAGEOUT
        (madvise, [0, 0, 12, 0, 0, 0]),  # MADV_MERGEABLE
        (opened, [0, 0o10000000, 0, 0, 0, 0]),  # O_PATH
        (opened, [0, 0o1000, 0, 0, 0, 0]),  # O_TRUNC
    ]
    assert attack(source, allowed_otherwise)["got"] == []


@pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers of x86-64")
@pytest.mark.parametrize(
    "call",
    [
        "ctypes.CDLL(None).syscall(ctypes.c_long(0x40000000 + 39))",
        "ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()",
    ],
    ids=["x32", "int80"],
)
def test_a_system_call_of_another_architecture_ends_the_fork(box: Sandbox, attack: Callable[..., Any], call: str) -> None:
    source = f"""
import ctypes, mmap
page = mmap.mmap(-1, 4096, prot=7)
page[:8] = bytes.fromhex("b814000000cd80c3")  # mov eax, 20 (getpid); int 0x80; ret
def attack(state, given, arrays):
    return {{"got": {call}}}, {{}}
"""
    with pytest.raises(CodeError, match="its process ended"):
        attack(source)
    alive(box)


def test_every_program_ends_in_a_denial() -> None:
    assert for_fork(1)[-1].k == 0x00050001
