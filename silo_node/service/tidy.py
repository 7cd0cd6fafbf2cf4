"""What a hospital may throw away of jobs that are over: models and pixels. What protects patients stays.

A hospital is not told that a job is over; what was not touched for long counts as over. A job that is tidied is marked before
anything of it goes, and from then on refused by name: it could not go on as it was.

Removed: models and personal parts, kept answers, caches of pixels. Never: the plan, which attempts were masked and opened, the
inbox's memory, keys, receipts, the ledger; nothing outside `state` is looked at.
"""

from __future__ import annotations

import time
from pathlib import Path

from protocol.errors import InputError
from protocol.service_leftovers import Leftover
from silo_node.state import TIDIED

LEAST_DAYS = 1.0
_DAY_S = 86_400.0
_OF_A_JOB = ("*.safetensors", "*.safetensors.partial", "outbox/*.release", "outbox/*.partial")
"""An answer that was kept is in the ledger: without it, it can only be refused, never drawn anew."""


def leftovers(state: Path, older_than_days: float, now: float | None = None) -> list[Leftover]:
    """What could go, the oldest first. Raises InputError for less than a day: a job may rest so long and go on."""
    if not older_than_days >= LEAST_DAYS:
        raise InputError(f"--older-than {older_than_days:g}: at least {LEAST_DAYS:g} day; a job may rest for hours and go on.")
    now = time.time() if now is None else now
    found = []
    for folder in (state / "jobs").glob("*"):
        files = tuple(path for pattern in _OF_A_JOB for path in sorted(folder.glob(pattern)) if path.is_file())
        touched = max((path.stat().st_mtime for path in folder.rglob("*")), default=now)
        if files:
            found.append(Leftover(f"job {folder.name}", (now - touched) / _DAY_S, files, folder / TIDIED))
    caches = (state / "cache").glob("*.npy")
    found += [Leftover(f"cache {path.stem}", (now - path.stat().st_mtime) / _DAY_S, (path,), None) for path in caches]
    return sorted((one for one in found if one.days >= older_than_days), key=lambda one: -one.days)


def remove(leftover: Leftover) -> None:
    """Remove it. Raises OSError; what is left goes the next time."""
    if leftover.mark is not None:
        leftover.mark.touch(mode=0o600)
    for path in leftover.files:
        path.unlink(missing_ok=True)
