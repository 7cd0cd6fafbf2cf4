"""A folder that all parties reach, and into which each writes only its own part; no PySyft in here.

    box/<party>/                            what a party says of itself: peers, version, key bundles, events, collections
    p2p/<hospital>/inbox/<researcher>/      messages to the hospital
    p2p/<hospital>/outbox/<researcher>/     what the hospital sends back
    p2p/<hospital>/archive|quarantine/      messages that were taken, or could not be

Every file appears at once or not at all. Who may write where is the folder's own matter (permissions of the file system, or the
courier's rules); what is in the files is encrypted and signed by PySyft for the one who reads it.
"""

from __future__ import annotations

import errno
import os
import stat
import uuid
from pathlib import Path

from protocol.errors import TrustError

_MAX_BYTES = 64 << 20


class Share:
    """Reads and writes under `root`, never outside. Names that could lead elsewhere raise TrustError."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = root.resolve()

    def at(self, *names: str) -> Path:
        """The place of these names, one below the other."""
        for name in names:
            if not name or name in (".", "..") or any(mark in name for mark in "/\\\0"):
                raise TrustError(f"{name!r} is no name of a file on the share; its sender is at fault, nothing was read.")
        return self.root.joinpath(*names)

    def find(self, identifier: str) -> Path:
        """The place that an identifier (a path from `root`) names."""
        return self.at(*identifier.split("/"))

    def identify(self, path: Path) -> str:
        """The identifier of a place."""
        return path.relative_to(self.root).as_posix()

    def put(self, path: Path, data: bytes) -> str:
        """Write a file durably; readers see the old one or the new one. Returns its identifier.

        Raises TrustError if a folder on the way is a link that leads outside.
        """
        self._inside(path)  # before a folder is made, and after
        path.parent.mkdir(parents=True, exist_ok=True)
        self._inside(path)
        partial = path.parent / f".{uuid.uuid4().hex}.part"
        with partial.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        partial.replace(path)
        return self.identify(path)

    def get(self, path: Path) -> bytes:
        """A file's bytes. Raises TrustError for a link or what is larger than anything of ours, OSError if it is not there.

        A pipe that somebody put there is no file of ours either: whoever opened it would wait for ever.
        """
        self._inside(path)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise TrustError(f"{path.name!r} on the share is a link; it was not read.") from error
            raise
        try:
            data = _read(descriptor, path.name)
        finally:
            os.close(descriptor)
        if len(data) > _MAX_BYTES:
            raise TrustError(f"{path.name!r} on the share is larger than {_MAX_BYTES >> 20} MiB; it was not read.")
        return data

    def remove(self, path: Path) -> None:
        """Take a file away, if it is there. Raises TrustError if a folder on the way is a link that leads outside."""
        self._inside(path)
        path.unlink(missing_ok=True)

    def names(self, folder: Path) -> list[str]:
        """The plain files in a folder, sorted; none if there is no such folder."""
        if not folder.is_dir():
            return []
        return sorted(one.name for one in folder.iterdir() if one.is_file() and not one.is_symlink() and one.name[0] != ".")

    def _inside(self, path: Path) -> None:
        if not path.parent.resolve().is_relative_to(self.root):
            raise TrustError(f"{path.parent.name!r} on the share is a link that leads outside; nothing was read or written.")


def _read(descriptor: int, name: str) -> bytes:
    """At most one byte more than a file of ours has. Raises TrustError for what is no file."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise TrustError(f"{name!r} on the share is no file; it was not read.")
    data = bytearray()
    while len(data) <= _MAX_BYTES and (block := os.read(descriptor, min(1 << 20, _MAX_BYTES + 1 - len(data)))):
        data += block
    return bytes(data)
