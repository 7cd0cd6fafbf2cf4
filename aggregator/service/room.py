"""A disk without room: how it is told from other errors, and how much of it a job needs to go on."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from pathlib import Path

LEAST = 1 << 20
"""Bytes for the journal and the small files of any job."""
_VECTORS = 6
"""Of the model's size: the model and what a strategy keeps beside it, while the one before is still there, and a masked sum."""


def needed(parameters: int) -> int:
    """Bytes that a round of a model of so many float32 parameters may write before it lets go of any."""
    return LEAST + 4 * _VECTORS * parameters


def free(folder: Path) -> int:
    """Bytes that can be written in `folder`; 0 if it is not there."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0


def is_full(error: BaseException) -> bool:
    """Whether want of room on a disk is what lies under `error`; what it was raised from counts."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if isinstance(seen, sqlite3.Error) and getattr(seen, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
            return True
        if f"os error {errno.ENOSPC}" in str(seen) or f"os error {errno.EDQUOT}" in str(seen):  # safetensors, in Rust's words
            return True
        seen = seen.__cause__ or seen.__context__
    return False
