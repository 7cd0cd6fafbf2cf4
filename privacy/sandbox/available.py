"""Whether this machine can keep a plan's own code apart, and what to do if not."""

from __future__ import annotations

import errno
import sys

from privacy.sandbox import kernel, landlock

_FILTER = 2


def available() -> str | None:
    """Why code cannot be kept apart on this machine, with what to do about it; None: it can."""
    if sys.platform != "linux":
        return "a plan's own code runs on Linux only: only there can it be kept apart. Use a Linux machine or container."
    if kernel.machine() not in ("x86_64", "aarch64"):
        return f"a plan's own code cannot be kept apart on {kernel.machine()}. Use an x86-64 or 64-bit ARM machine and Python."
    if not landlock.version():
        return (
            "the kernel offers no Landlock, so a plan's own code could read files here. Use Linux 5.13 or newer with landlock "
            "in the kernel's lsm= list; in a container also a seccomp profile that allows the landlock_ calls."
        )
    if not _has_seccomp():
        return "the kernel offers no seccomp filters, so a plan's own code could reach the network. Use a kernel with them."
    return None


def _has_seccomp() -> bool:
    """A filter that is nowhere: a kernel that knows filters looks for it."""
    try:
        kernel.prctl(kernel.PR_SET_SECCOMP, _FILTER, None)
    except OSError as error:
        return error.errno in (errno.EFAULT, errno.EACCES)
    return False
