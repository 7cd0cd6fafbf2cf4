"""The kernel's calls that Python has no name for. Linux on x86-64 and 64-bit ARM."""

from __future__ import annotations

import ctypes
import os
import platform
import sys

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
PR_GET_NAME = 16
PR_GET_SECCOMP = 21
PR_SET_SECCOMP = 22
PR_SET_TSC = 26
PR_TSC_SIGSEGV = 2
PR_SET_NO_NEW_PRIVS = 38

_CLONE_NEWUSER, _CLONE_NEWNET, _CLONE_NEWIPC = 0x10000000, 0x40000000, 0x08000000
_CAPABILITIES_3 = 0x20080522  # linux/capability.h: 64 capabilities in two words
_CAPSET = {"x86_64": 126, "aarch64": 91}


def machine() -> str:
    """The processor's kind as uname says it: x86_64 and aarch64 are known; of a 32-bit Python never one of them."""
    return platform.machine() if sys.maxsize > 2**32 else "32-bit"


def prctl(option: int, *arguments: object) -> int:
    """prctl(2). Raises OSError."""
    return checked(_libc().prctl(option, *[_word(one) for one in (*arguments, 0, 0, 0, 0)[:4]]))


def syscall(number: int, *arguments: object) -> int:
    """syscall(2); numbers go as 64-bit words. Raises OSError."""
    return checked(_libc().syscall(ctypes.c_long(number), *[_word(one) for one in arguments]))


def leave_namespaces() -> bool:
    """Into a user, network and IPC namespace of one's own, if the kernel lets everybody do so, and before there are threads."""
    return int(_libc().unshare(_CLONE_NEWUSER | _CLONE_NEWNET | _CLONE_NEWIPC)) == 0


def drop_capabilities() -> None:
    """Root's powers go, in whatever namespace. Raises OSError."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_3, 0)
    syscall(_CAPSET[machine()], ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)()))


def checked(result: int) -> int:
    """`result` of a C function. Raises OSError with errno if it is -1."""
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _word(argument: object) -> object:
    return ctypes.c_long(argument) if isinstance(argument, int) else argument
