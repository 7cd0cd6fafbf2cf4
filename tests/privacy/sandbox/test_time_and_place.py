"""When a module runs, after how many others, and what lies outside: a fork that knew could say more than its patient."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.privacy.sandbox.test_walls import run_openly

HEAD = """
import ctypes, datetime, json, mmap, os, platform, resource, socket, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def asked(question):
    try:
        return repr(question())
    except Exception as error:
        return type(error).__name__
"""

PROBE = """
def counter():
    page = mmap.mmap(-1, 4096, prot=7)
    page[:11] = bytes.fromhex("0f3148c1e2204809d0c3") + b"\\0"  # rdtsc; rax |= rdx << 32; ret
    return ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
def serialised():
    page = mmap.mmap(-1, 4096, prot=7)
    page[:12] = bytes.fromhex("0f01f948c1e2204809d0c300")  # rdtscp
    return ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
def other_s_clock(number):
    at = (ctypes.c_long * 2)()
    if libc.syscall(228, ctypes.c_int((~number << 3) | 2), at) == -1:
        raise PermissionError
    return list(at)
QUESTIONS = {
    "time": time.time, "monotonic": time.monotonic, "counter": time.perf_counter_ns, "raw": lambda: time.clock_gettime(4),
    "processor": time.process_time, "thread": time.thread_time, "now": datetime.datetime.now, "local": time.localtime,
    "rdtsc": counter, "rdtscp": serialised, "node's clock": lambda: other_s_clock(GIVEN["parent"]),
    "usage": lambda: resource.getrusage(resource.RUSAGE_SELF), "load": os.getloadavg,
    "processes": lambda: (os.getpid(), os.getppid(), threading.get_native_id()),
    "channel": lambda: os.fstat(0 if GIVEN["open"] else 3), "idle": lambda: open("/proc/stat").read(),
    "processor's times": lambda: open("/proc/uptime").read(),
}
def attack(state, given, arrays):
    global GIVEN
    GIVEN = given
    return {name: asked(question) for name, question in QUESTIONS.items()}, {}
"""

LOOK = """
def attack(state, given, arrays):
    path, name = given["secret"], given["secret"].encode()
    questions = {
        "stat": lambda: os.stat(path).st_size,
        "lstat": lambda: os.lstat(path).st_size,
        "access": lambda: os.access(path, os.F_OK) or 1 / 0,
        "o_path": lambda: os.open(path, os.O_PATH),
        "readlink": lambda: os.readlink(given["link"]),
        "size by libc": lambda: libc.stat(name, ctypes.create_string_buffer(500)) == 0 or 1 / 0,
        "of python": lambda: os.stat(os.__file__).st_mtime or 1 / 0,
        "emptied": lambda: os.open(os.__file__ if not given["open"] else path, os.O_RDONLY | os.O_TRUNC),
        "listed": lambda: os.listdir(os.path.dirname(os.__file__)),
    }
    return {"got": [name for name, question in questions.items() if asked(question) not in FAILURES]}, {}
FAILURES = ("PermissionError", "ZeroDivisionError", "FileNotFoundError")
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="on 64-bit ARM a program can read the processor's counter")
def test_no_question_tells_a_module_s_turn_from_the_next(attack: Callable[..., dict[str, Any]]) -> None:
    given = {"parent": os.getpid(), "open": False}
    first, second = (attack(HEAD + PROBE, given) for _ in range(2))
    assert first == second
    assert first["rdtsc"] == first["rdtscp"] == "0"
    assert first["time"] == "0.0"
    assert first["node's clock"] == first["usage"] == "PermissionError"


def test_each_question_tells_it_where_there_are_no_walls(tmp_path: Path) -> None:
    given = {"parent": os.getpid(), "open": True, "folder": str(tmp_path)}
    source = HEAD + PROBE + "real = attack\ndef attack(*a): return {'got': list(real(*a)[0].items())}, {}\n"
    first, second = (dict(run_openly(source, given)) for _ in range(2))  # type: ignore[arg-type]
    same = {name for name in first if first[name] == second[name]}
    assert same <= {"channel", "load", "local"}


def test_nothing_is_said_of_what_lies_outside(attack: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    """The size of a ledger says how many patients paid; from every fork of a step it could leave as if it were a gradient."""
    secret = tmp_path / "ledger.jsonl"
    secret.write_text("patients\n")
    (tmp_path / "link").symlink_to(secret)
    given = {"secret": str(secret), "link": str(tmp_path / "link"), "open": False}
    assert attack(HEAD + LOOK, given)["got"] == []
    found = run_openly(HEAD + LOOK, given | {"open": True, "folder": str(tmp_path)})
    assert len(found) == 9
    assert secret.read_text() == ""  # it could be emptied


def test_what_is_not_loaded_yet_is_still_imported(attack: Callable[..., dict[str, Any]]) -> None:
    source = """
import sys
before = set(sys.modules)
import chunk, wave, monai.networks.schedulers, torch.optim.swa_utils, numpy.polynomial, sqlite3, decimal, xml.dom.minidom
def attack(state, given, arrays):
    try:
        import mlflow
    except ImportError:
        return {"loaded": len(set(sys.modules) - before) > 3}, {}
"""
    assert attack(source) == {"loaded": True}


def test_an_honest_look_at_the_clock_ends_nobody(attack: Callable[..., dict[str, Any]]) -> None:
    source = """
import logging, threading, time, torch, warnings
def attack(state, given, arrays):
    logging.getLogger("here").warning("now")
    lock = threading.Lock()
    with lock:
        start = time.time()
    torch.nn.functional.conv2d(torch.rand(4, 8, 64, 64), torch.rand(8, 8, 3, 3))
    return {"took": time.time() - start}, {}
"""
    took = attack(source)["took"]
    assert took == 0 or platform.machine() != "x86_64"
