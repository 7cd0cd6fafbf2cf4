"""What a service may throw away of what is over: folders, and the files of them that can go. It knows paths, no contents."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Leftover:
    """A job's folder or a cache that was not touched for `days`, and the files of it that can go."""

    name: str
    days: float
    files: tuple[Path, ...]
    mark: Path | None
    """Where a job is marked; None for a cache."""

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(path.stat().st_size for path in self.files if path.exists())
