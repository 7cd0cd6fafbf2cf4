"""One process at a time: a service that is started twice must not do its work twice."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

from protocol.errors import InputError


def only_one(path: Path, service: str) -> IO[str]:
    """Hold the file `path` until what is returned is closed; the kernel lets go of it however the process ends.

    Raises InputError at once if another process holds it, or it cannot be written.
    """
    try:
        handle = path.open("a")
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); check the path and whose it is.") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        handle.close()
        raise InputError(f"another `{service}` is at work in {path.parent}; stop it first.") from error
    return handle
