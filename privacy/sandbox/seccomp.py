"""seccomp-BPF: a program that the kernel runs at every system call. It knows numbers and plain arguments, no paths.

The layout of what it sees is struct seccomp_data: number (4 bytes), architecture (4), instruction pointer (8), six arguments (8
each, little-endian). https://docs.kernel.org/userspace-api/seccomp_filter.html
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from privacy.sandbox import kernel
from privacy.sandbox.syscalls import NURSERY, PLAIN, number

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # BPF: ld [k], jeq, jge, jset, ret
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32 = 0x40000000
_FUTEX_PRIVATE = 128
_MODE_FILTER = 2
_NAMESPACES = 0x7E020000  # every CLONE_NEW flag that clone knows
_READING = os.O_CLOEXEC | os.O_NONBLOCK | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NOCTTY | 0o100000 | 0o400000  # O_LARGEFILE
_ADVICE = (0, 1, 2, 3, 4, 8, 14, 15)  # normal to dontneed, free, hugepage and not: none that moves pages others share
_MINE = (fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL, fcntl.F_SETFL, fcntl.F_DUPFD, fcntl.F_DUPFD_CLOEXEC)


class _Filter(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("len", ctypes.c_uint16), ("filter", ctypes.POINTER(_Filter)))


@dataclass(frozen=True)
class Step:
    """One instruction of BPF."""

    code: int
    k: int
    if_true: int = 0
    if_false: int = 0


def for_fork(own: int) -> list[Step]:
    """The program of a fork with process number `own`: no file is written, nothing is made, nobody else is touched."""
    steps = [*_head(), *_plain(PLAIN)]
    steps += _when("tgkill", _argument(0, [own]))  # abort() and raise()
    steps += _when("prctl", _argument(0, [kernel.PR_SET_NAME, kernel.PR_GET_NAME]))
    steps += [step for name in ("clone", "fork", "vfork") for step in _when(name, [_denied(errno.EAGAIN)])]
    steps += [step for name in ("getpid", "gettid", "getppid") for step in _when(name, [_denied(0)])]
    for name, flags in (
        ("open", 1),
        ("openat", 2),
    ):  # O_PATH asks about what may not be read, O_TRUNC empties it (Landlock 1, 2)
        steps += _when(name, [Step(_LOAD, _offset(flags)), Step(_ANY_BIT, ~_READING & 0xFFFFFFFF, 0, 1), *_denied_or_not()])
    steps += _when("madvise", _argument(2, _ADVICE))
    steps += _when("futex", _argument(1, (_FUTEX_PRIVATE, _FUTEX_PRIVATE | 1)))  # wait and wake; none that waits until a time
    return [*steps, *_common(), _denied(errno.EPERM)]


def for_nursery() -> list[Step]:
    """The program of the nursery: as of a fork, but it makes and ends forks. Forks have both programs."""
    steps = [
        *_head(),
        *_plain((*PLAIN, *NURSERY, "getpid", "gettid", "getppid", "open", "openat", "madvise", "tgkill", "prctl", "fork")),
    ]
    unspaced = [Step(_LOAD, _offset(0)), Step(_ANY_BIT, _NAMESPACES, 0, 1), _denied(errno.EPERM), Step(_RETURN, _ALLOW)]
    steps += _when("clone", unspaced)
    steps += _when("prlimit64", [Step(_RETURN, _ALLOW)])
    return [*steps, *_common(), _denied(errno.EPERM)]


def install(steps: list[Step]) -> None:
    """Lay the program on this thread and what it forks, for good. no_new_privs must be set. Raises OSError."""
    lines = (_Filter * len(steps))(*[_Filter(step.code, step.if_true, step.if_false, step.k) for step in steps])
    program = _Program(len(steps), ctypes.cast(lines, ctypes.POINTER(_Filter)))
    kernel.prctl(kernel.PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program))


def _head() -> Iterator[Step]:
    """Another architecture's calls (i386, x32) have other numbers: they end the process."""
    yield Step(_LOAD, 4)
    yield Step(_EQUAL, _ARCHITECTURES[kernel.machine()], 1, 0)
    yield Step(_RETURN, _KILL)
    yield Step(_LOAD, 0)
    if kernel.machine() == "x86_64":
        yield Step(_AT_LEAST, _X32, 0, 1)
        yield Step(_RETURN, _KILL)


def _plain(names: Iterable[str]) -> Iterator[Step]:
    for name in names:
        if number(name) is not None:
            yield from _when(name, [Step(_RETURN, _ALLOW)])


def _common() -> Iterator[Step]:
    """Rules by argument that hold in a fork and in the nursery."""
    # A futex in a page of a file that two forks can read would let one hear the other; only private ones.
    private = [Step(_LOAD, _offset(1)), Step(_ANY_BIT, _FUTEX_PRIVATE, 0, 1), Step(_RETURN, _ALLOW), _denied(errno.EPERM)]
    yield from _when("futex", private)
    yield from _when("fcntl", _argument(1, _MINE))  # no locks, no leases, no signals to an owner
    nothing_new = [
        *(
            step
            for at in (_offset(2), _offset(2) + 4)
            for step in (Step(_LOAD, at), Step(_EQUAL, 0, 1, 0), _denied(errno.EPERM))
        ),
        *_argument(0, [0]),
    ]
    yield from _when("prlimit64", nothing_new)  # its own limits, read only
    yield from _when("ioctl", [_denied(errno.ENOTTY)])
    yield from _when("clone3", [_denied(errno.ENOSYS)])  # its arguments lie in memory; libraries fall back to clone


def _when(name: str, steps: list[Step]) -> list[Step]:
    """`steps`, which must end in a return, for the system call `name`; the number is loaded before and after."""
    found = number(name)
    return [] if found is None else [Step(_EQUAL, found, 0, len(steps)), *steps]


def _argument(index: int, allowed: Iterable[int]) -> list[Step]:
    """Allow if the low 32 bits of argument `index`, an int for the kernel, are one of `allowed`."""
    checks = [step for value in allowed for step in (Step(_EQUAL, value, 0, 1), Step(_RETURN, _ALLOW))]
    return [Step(_LOAD, _offset(index)), *checks, _denied(errno.EPERM)]


def _denied_or_not() -> tuple[Step, Step]:
    return _denied(errno.EPERM), Step(_RETURN, _ALLOW)


def _offset(index: int) -> int:
    return 16 + 8 * index


def _denied(error: int) -> Step:
    return Step(_RETURN, _ERRNO | error)
