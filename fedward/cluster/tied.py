"""A process that ends when the one that started it ends, however that happens: nobody is left behind by a SIGKILL.

    python -m fedward.cluster.tied PARENT COMMAND ...

Linux only: the kernel sends the signal (prctl, PR_SET_PDEATHSIG; it stays over exec). Elsewhere nothing is tied.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def tie(parent: int) -> None:
    """From now on this process gets SIGKILL when `parent`, which started it, is gone. Ends at once if it is gone already.

    The parent's thread that started it is what counts: start such processes from a thread that stays, the main one.
    SIGKILL and not SIGTERM: whoever finishes something first would wait for a broker that is going as well, and all of
    them can bear it.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


if __name__ == "__main__":
    tie(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - the words are our own, and no shell is wanted
