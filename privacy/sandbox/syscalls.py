"""Which system calls are allowed inside: a list, so that what a later kernel adds is denied.

Numbers: x86-64 from arch/x86/entry/syscalls/syscall_64.tbl, 64-bit ARM from include/uapi/asm-generic/unistd.h; None: it has no
such call.
"""

from __future__ import annotations

from privacy.sandbox import kernel

_PLACES = {"x86_64": 0, "aarch64": 1}

NUMBERS: dict[str, tuple[int | None, int | None]] = {
    # its channel and readable files
    "read": (0, 63),
    "write": (1, 64),
    "readv": (19, 65),
    "writev": (20, 66),
    "pread64": (17, 67),
    "close": (3, 57),
    "lseek": (8, 62),
    "poll": (7, None),
    "ppoll": (271, 73),
    "getcwd": (79, 17),
    "dup": (32, 23),
    # memory
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "mremap": (25, 216),
    # itself
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "set_robust_list": (273, 99),
    "set_tid_address": (218, 96),
    "rseq": (334, 293),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "getrlimit": (97, 163),
    "getuid": (102, 174),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getegid": (108, 177),
    "uname": (63, 160),
    "getrandom": (318, 278),
    "restart_syscall": (219, 128),
    "exit": (60, 93),
    "exit_group": (231, 94),
    # by their arguments
    "open": (2, None),
    "openat": (257, 56),
    "madvise": (28, 233),
    "futex": (202, 98),
    "fcntl": (72, 25),
    "tgkill": (234, 131),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "clone": (56, 220),
    # denied with an answer that its callers know how to live with
    "ioctl": (16, 29),
    "clone3": (435, 435),
    "fork": (57, None),
    "vfork": (58, None),
    # answered with 0: which of the forks it is, is not for it to know
    "getpid": (39, 172),
    "gettid": (186, 178),
    "getppid": (110, 173),
    # the nursery's own; what a path is, and what time, is not answered in a fork
    "fstat": (5, 80),
    "newfstatat": (262, 79),
    "stat": (4, None),
    "lstat": (6, None),
    "statx": (332, 291),
    "access": (21, None),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "getdents64": (217, 61),
    "arch_prctl": (158, None),
    "getrusage": (98, 165),
    "nanosleep": (35, 101),
    "clock_nanosleep": (230, 115),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "gettimeofday": (96, 169),
    "time": (201, None),
    "kill": (62, 129),
    "wait4": (61, 260),
    "sendmsg": (46, 211),
    "recvmsg": (47, 212),
    "dup3": (292, 24),
    "close_range": (436, 436),
    "setrlimit": (160, 164),
    "landlock_create_ruleset": (444, 444),
    "landlock_add_rule": (445, 445),
    "landlock_restrict_self": (446, 446),
}

_PLAIN_END = "open"
PLAIN = tuple(NUMBERS)[: tuple(NUMBERS).index(_PLAIN_END)]
"""Allowed whatever their arguments are."""
NURSERY = tuple(NUMBERS)[tuple(NUMBERS).index("fstat") :]
"""Allowed in the nursery as well: to make forks, to shut them in and to end them."""


def number(name: str) -> int | None:
    """The number of the call `name` on this machine."""
    return NUMBERS[name][_PLACES[kernel.machine()]]
