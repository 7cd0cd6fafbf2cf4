"""The files of a job of PySyft, as they are read: every byte once, and no more than a plan can be."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from protocol.errors import TrustError

_MAX_FILES, _MAX_BYTES = 64, 4 << 20
_OURS = "syft.pub.yaml"  # PySyft's own file of permissions


def result_files(paths: Iterable[Path]) -> Iterator[Path]:
    """The plain files that are or lie below these paths."""
    for path in paths:
        yield from (one for one in path.rglob("*") if one.is_file()) if path.is_dir() else (path,)


def submitted_files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every plain file below `folder`, read once. Raises TrustError for links and for more than a plan can be."""
    total = 0
    for number, path in enumerate(sorted(one for one in folder.rglob("*") if not one.is_dir() or one.is_symlink())):
        if path.name == _OURS:
            continue
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as handle:
            data = handle.read(_MAX_BYTES + 1)
        total += len(data)
        if number >= _MAX_FILES or total > _MAX_BYTES:
            raise TrustError("what was handed over is larger than a plan.")
        yield path.relative_to(folder).as_posix(), data
