"""The programs that the kernel runs at system calls, on both kinds of processor, and older versions of Landlock."""

from __future__ import annotations

import errno
import re
import subprocess
import sys
from pathlib import Path

import pytest

from privacy.sandbox import kernel, seccomp
from privacy.sandbox.syscalls import NUMBERS, NURSERY, PLAIN

ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
OWN = 4242


def answer(steps: list[seccomp.Step], architecture: int, number: int, *arguments: int) -> int:
    """What the program answers, as the kernel would run it."""
    words = {0: number, 4: architecture}
    for index, value in enumerate((*arguments, 0, 0, 0, 0, 0, 0)[:6]):
        words |= {16 + 8 * index: value & 0xFFFFFFFF, 20 + 8 * index: (value >> 32) & 0xFFFFFFFF}
    at, loaded = 0, 0
    while True:
        step = steps[at]
        at += 1
        if step.code == 0x20:
            loaded = words[step.k]
        elif step.code == 0x06:
            return step.k
        else:
            true = {0x15: loaded == step.k, 0x35: loaded >= step.k, 0x45: bool(loaded & step.k)}[step.code]
            at += step.if_true if true else step.if_false


@pytest.fixture(params=ARCHITECTURES)
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(kernel, "machine", lambda: request.param)
    return request.param


def numbers(machine: str) -> dict[str, int]:
    place = list(ARCHITECTURES).index(machine)
    return {name: pair[place] for name, pair in NUMBERS.items() if pair[place] is not None}


def test_a_fork_may_call_what_is_listed_and_nothing_else(machine: str) -> None:
    steps, architecture, known = seccomp.for_fork(OWN), ARCHITECTURES[machine], numbers(machine)
    plain = {known[name] for name in PLAIN if name in known}
    special = {known[name] for name in known if name not in PLAIN and name not in NURSERY}
    assert len(plain) > 30
    for number in range(2000):
        found = answer(steps, architecture, number, 99, 99, 99)
        if number in plain:
            assert found == ALLOW
        elif number not in special:
            assert found == ERRNO | errno.EPERM


def test_calls_are_allowed_by_their_arguments(machine: str) -> None:
    steps, architecture, known = seccomp.for_fork(OWN), ARCHITECTURES[machine], numbers(machine)

    def found(name: str, *arguments: int) -> int:
        return answer(steps, architecture, known[name], *arguments)

    denied = ERRNO | errno.EPERM
    assert found("tgkill", OWN, OWN, 6) == ALLOW
    assert found("tgkill", OWN - 1, OWN - 1, 9) == denied
    assert found("futex", 0, 128 | 1) == ALLOW
    assert found("futex", 0, 1) == denied
    assert found("futex", 0, 128 | 9) == denied  # waits until a time
    assert found("futex", 0, 256 | 128) == denied
    assert found("openat", 0, 0, 0o2200000) == ALLOW  # O_DIRECTORY, O_CLOEXEC
    assert {found("openat", 0, 0, flag) for flag in (1, 2, 0o100, 0o1000, 0o10000000, 0o20200000)} == {denied}
    assert found("madvise", 0, 0, 4) == ALLOW
    assert {found("madvise", 0, 0, advice) for advice in (9, 12, 20, 21, 25)} == {denied}
    assert {found(name) for name in ("getpid", "gettid", "getppid")} == {ERRNO}  # 0
    assert found("fcntl", 3, 1) == ALLOW
    assert found("fcntl", 3, 8) == denied  # F_SETOWN
    assert found("prctl", 15) == ALLOW  # the name of a thread
    assert found("prctl", 1, 0) == denied  # PDEATHSIG
    assert found("prlimit64", 0, 7, 0, 1) == ALLOW
    assert found("prlimit64", 0, 7, 1) == denied
    assert found("prlimit64", 0, 7, 1 << 32) == denied
    assert found("prlimit64", 17, 7, 0) == denied
    assert found("clone", 17) == ERRNO | errno.EAGAIN
    assert found("clone3") == ERRNO | errno.ENOSYS
    assert found("ioctl", 0, 0x5412) == ERRNO | errno.ENOTTY
    assert {found(name, 1, 1, 1) for name in NURSERY if name in known} == {denied}


def test_calls_of_another_architecture_end_the_process(machine: str) -> None:
    for steps in (seccomp.for_fork(OWN), seccomp.for_nursery()):
        for other in (0x40000003, 0x40000028, *ARCHITECTURES.values()):  # i386, ARM
            assert (answer(steps, other, 0 if machine == "x86_64" else 63) == KILL) == (other != ARCHITECTURES[machine])
        if machine == "x86_64":
            assert answer(steps, ARCHITECTURES[machine], 0x40000000) == KILL


def test_the_nursery_makes_forks_and_no_namespaces_and_reaches_nobody(machine: str) -> None:
    steps, architecture, known = seccomp.for_nursery(), ARCHITECTURES[machine], numbers(machine)
    assert answer(steps, architecture, known["clone"], 0x01200011) == ALLOW
    assert answer(steps, architecture, known["clone"], 0x10000011) == ERRNO | errno.EPERM
    assert answer(steps, architecture, known["kill"], 1, 9) == ALLOW
    for name, pair in {"socket": (41, 198), "execve": (59, 221), "ptrace": (101, 117), "unshare": (272, 97)}.items():
        number = pair[list(ARCHITECTURES).index(machine)]
        assert answer(steps, architecture, number) == ERRNO | errno.EPERM, name


@pytest.mark.parametrize(
    ("header", "place"), [("x86_64-linux-gnu/asm/unistd_64.h", 0), ("asm-generic/unistd.h", 1)], ids=["x86_64", "aarch64"]
)
def test_the_numbers_are_those_of_the_kernel_s_headers(header: str, place: int) -> None:
    path = Path("/usr/include") / header
    if not path.exists():
        pytest.skip("the kernel's headers are not installed")
    found = {name: int(number) for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", path.read_text())}
    other = {"newfstatat": "fstatat"} if place else {}
    for name, pair in NUMBERS.items():
        if pair[place] is not None:
            assert found[other.get(name, name)] == pair[place], name


OLDER = """
import socket, sys
from privacy.sandbox import kernel, landlock
known = landlock.version
landlock.version = lambda: min(known(), int(sys.argv[1]))
server = socket.create_server(("127.0.0.1", 0))
kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
landlock.restrict([sys.argv[2]])
landlock.restrict_signals()
def attempt(action):
    try:
        action()
    except PermissionError:
        return False
    return True
print(attempt(lambda: open(sys.argv[2]).read()), attempt(lambda: open("/etc/passwd")), attempt(lambda: open(sys.argv[2], "a")),
      attempt(lambda: socket.socket().connect(server.getsockname())))
"""


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5, 6, 99])
def test_every_version_of_landlock_shuts_files_away(version: int, tmp_path: Path) -> None:
    (tmp_path / "open").write_text("x")
    command = [sys.executable, "-c", OLDER, str(version), str(tmp_path / "open")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    read, elsewhere, written, connected = done.stdout.split()
    assert (read, elsewhere, written) == ("True", "False", "False")
    assert connected == str(version < 4)
