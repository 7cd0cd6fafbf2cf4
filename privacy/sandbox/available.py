"""Whether this machine can keep a plan's own code apart."""

from __future__ import annotations

import sys


def available() -> str | None:
    """Why code cannot be kept apart on this machine, with what to do about it; None: it can."""
    if sys.platform != "linux":
        return (
            "a plan's own code runs on Linux only, because only there can it be kept apart. Use a Linux machine or container."
        )
    return None
