"""No clock inside: a module that knows when it runs knows how many patients came before it (decisions/0013).

On x86-64 there are three ways to the time. System calls: not on the list. The processor's counter (rdtsc): PR_SET_TSC makes
reading it a fault, and since oneDNN reads it, the fault is answered with zero. The kernel's own functions in each process
(vDSO), which read that counter and a page of the kernel's: they are replaced by some that say zero, so that locks and libraries
which ask for a time go on, and the page is taken away. A module can undo the answers, but what they stand for is gone. On
64-bit ARM the counter cannot be taken from a program; there the order of turns alone protects.
"""

from __future__ import annotations

import ctypes
import mmap
import re
import signal
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from privacy.sandbox import kernel

_MAPPED = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) .* \[(vdso|vvar\w*)\]$", re.MULTILINE)
_DYNAMIC, _STRINGS, _SYMBOLS = 2, 5, 6  # PT_DYNAMIC, DT_STRTAB, DT_SYMTAB of elf.h
_ZERO_TO_RSI = bytes.fromhex("4885f6 740f 48c70600000000 48c7460800000000 31c0 c3")  # if (rsi) rsi[0] = rsi[1] = 0; return 0
_ZERO_TO_RDI = bytes.fromhex("4885ff 740f 48c70700000000 48c7470800000000 31c0 c3")
_STUBS = {
    "clock_gettime": _ZERO_TO_RSI,
    "clock_getres": _ZERO_TO_RSI,
    "gettimeofday": _ZERO_TO_RDI,
    "time": bytes.fromhex("4885ff 7407 48c70700000000 31c0 c3"),
    "getrandom": bytes.fromhex("b83e010000 0f05 c3"),  # asks the kernel: its quick way needs the page that goes
}
# Handler of SIGSEGV, (signal, siginfo, ucontext): rdtsc and rdtscp write 0 and are stepped over; all else ends.
_ANSWER_ZERO = bytes.fromhex(
    "488b82a8000000"  # mov rax, [rdx+168]        saved rip
    "0fb708"  #         movzx ecx, word [rax]
    "81f90f310000"  #   cmp ecx, 0x310f           rdtsc
    "741f"  #           je two
    "81f90f010000"  #   cmp ecx, 0x010f           rdtscp
    "7533"  #           jne other
    "807802f9"  #       cmp byte [rax+2], 0xf9
    "752d"  #           jne other
    "4883c003"  #       add rax, 3
    "48c7829800000000000000"  # mov qword [rdx+152], 0    saved rcx
    "eb04"  #           jmp store
    "4883c002"  # two:  add rax, 2
    "488982a8000000"  # store: mov [rdx+168], rax
    "31c0"  #           xor eax, eax
    "48898288000000"  # mov [rdx+136], rax        saved rdx
    "48898290000000"  # mov [rdx+144], rax        saved rax
    "c3"  #             ret
    "f4"  #             other: hlt
)
_SA_SIGINFO = 4


class _Action(ctypes.Structure):
    """struct sigaction of glibc on x86-64."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_uint64 * 16),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


def stop() -> None:
    """From now on every clock of this process and its forks says zero. Raises OSError where that cannot be done."""
    if kernel.machine() != "x86_64":
        return
    for first, last, name in _MAPPED.findall(Path("/proc/self/maps").read_text(encoding="utf-8")):
        start, size = int(first, 16), int(last, 16) - int(first, 16)
        if name == "vdso":
            _replace(start, size)
        else:
            kernel.checked(_libc().munmap(ctypes.c_void_p(start), ctypes.c_size_t(size)))
    _answer_faults()
    if time.monotonic() or time.time():
        raise OSError(0, "the clock cannot be stopped")


def forbid() -> None:
    """From now on reading the processor's counter is a fault. Raises OSError."""
    if kernel.machine() == "x86_64":
        kernel.prctl(kernel.PR_SET_TSC, kernel.PR_TSC_SIGSEGV)


def _answer_faults() -> None:
    libc = _libc()
    libc.mmap.restype = ctypes.c_void_p
    page = libc.mmap(None, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    kernel.checked(-1 if page == ctypes.c_void_p(-1).value else 0)
    ctypes.memmove(page, _ANSWER_ZERO, len(_ANSWER_ZERO))
    kernel.checked(libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(mmap.PAGESIZE), mmap.PROT_READ | mmap.PROT_EXEC))
    kernel.checked(libc.sigaction(signal.SIGSEGV, ctypes.byref(_Action(page, flags=_SA_SIGINFO)), None))


def _replace(start: int, size: int) -> None:
    image, page = ctypes.string_at(start, size), ctypes.c_void_p(start)
    kernel.checked(_libc().mprotect(page, ctypes.c_size_t(size), mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC))
    for name, at, room in _functions(image):
        stub = _STUBS.get(name.removeprefix("__vdso_"))
        if stub is not None:
            if len(stub) > room:
                raise OSError(0, f"the kernel's {name} leaves no room")
            ctypes.memmove(start + at, stub, len(stub))
    kernel.checked(_libc().mprotect(page, ctypes.c_size_t(size), mmap.PROT_READ | mmap.PROT_EXEC))


def _functions(image: bytes) -> Iterator[tuple[str, int, int]]:
    """Name, place and size of what a 64-bit ELF image exports."""
    (headers,) = struct.unpack_from("<Q", image, 32)
    size, count = struct.unpack_from("<HH", image, 54)
    tags: dict[int, int] = {}
    for at in range(headers, headers + size * count, size):
        kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", image, at)
        if kind == _DYNAMIC:
            tags = dict(struct.iter_unpack("<QQ", image[offset : offset + length]))
    strings, symbols = tags[_STRINGS], tags[_SYMBOLS]
    for at in range(symbols, strings, 24):
        name, _, _, _, value, room = struct.unpack_from("<IBBHQQ", image, at)
        text = image[strings + name : image.index(b"\0", strings + name)].decode("ascii", "replace")
        if value:
            yield text, value, room


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
