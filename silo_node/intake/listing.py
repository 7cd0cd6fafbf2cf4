"""Every file below a folder, in an order that does not depend on the file system."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from protocol.errors import SourceError
from silo_node.intake.reasons import Reason


@dataclass(frozen=True, slots=True)
class Found:
    """One file: its path relative to the source (posix) and, if it is not even worth opening, why."""

    name: str
    size: int
    modified_ns: int
    reason: Reason | None = None


def list_files(source: Path, skip: Path) -> tuple[Found, ...]:
    """All files below `source` but `skip` (the labels), sorted by name. SourceError if there are none."""
    if not source.is_dir():
        raise SourceError(f"{source} is not a folder. Give the folder that holds the images.")
    root = source.resolve()
    try:
        os.scandir(root).close()
    except OSError as error:
        raise SourceError(f"{source} cannot be read ({error.strerror}). Check the folder's owner and mode.") from error
    found = sorted(_walk(root, root, skip.resolve()), key=lambda file: file.name)
    if not found:
        raise SourceError(f"{source} holds no files. Give the folder that holds the images.")
    return tuple(found)


def _walk(root: Path, folder: Path, skip: Path) -> Iterator[Found]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        yield Found(folder.relative_to(root).as_posix(), 0, 0, Reason.UNREADABLE)
        return
    for entry in entries:
        path = Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(root, path, skip)
        elif path != skip:
            yield _look(root, path)


def _look(root: Path, path: Path) -> Found:
    relative = path.relative_to(root)
    name = relative.as_posix()
    try:
        link = path.is_symlink()
        status = path.stat()
        inside = not link or path.resolve().is_relative_to(root)
    except (OSError, RuntimeError):
        return Found(name, 0, 0, Reason.NOT_A_FILE)
    reason = None
    if not inside:
        reason = Reason.OUTSIDE_SOURCE
    elif link and stat.S_ISDIR(status.st_mode):
        reason = Reason.LINKED_FOLDER
    elif not stat.S_ISREG(status.st_mode):
        reason = Reason.NOT_A_FILE
    elif any(part.startswith(".") for part in relative.parts):
        reason = Reason.HIDDEN
    elif status.st_size == 0:
        reason = Reason.EMPTY
    return Found(name, status.st_size, status.st_mtime_ns, reason)


def listing_digest(files: Sequence[Found]) -> str:
    """Changes when a file comes, goes, grows or is written again."""
    digest = hashlib.sha256()
    for file in files:
        line = f"{file.name}\0{file.size}\0{file.modified_ns}\0{file.reason or ''}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
