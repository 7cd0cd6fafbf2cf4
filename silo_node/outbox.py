"""What a private job releases is kept before it leaves, so that asking again gives the same bytes and costs nothing more.

A second sample of the same round would be a second release and a second charge; the same bytes are post-processing. It also
makes a job that was killed go on bit by bit as it would have.
"""

from __future__ import annotations

import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from protocol.errors import SiloError

_RELEASE = re.compile(r"[a-z]+(/[a-z0-9]+){0,4}")
_KEY_BYTES = 32


class Kept(Struct, frozen=True, forbid_unknown_fields=True):
    """One release: the digest of the request it answers (but for its attempt) and the release's own content."""

    request: str
    content: bytes


class Outbox:
    """The releases of one job, in one folder inside the hospital."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, release: str, request: str) -> bytes | None:
        """The content kept under `release`; None if there is none.

        Raises SiloError if it answered another request: one release cannot be asked for twice with different contents.
        """
        path = self._path(release)
        try:
            kept = msgspec.msgpack.decode(path.read_bytes(), type=Kept)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise SiloError(f"the kept {release} of this job is damaged; start a new job.") from error
        if kept.request != request:
            raise SiloError(f"{release} was already answered for another model; each is answered once.")
        return kept.content

    def key(self, release: str, request: str) -> bytes | None:
        """The secret from which `release` is being drawn; None if it was never begun here.

        A release that was interrupted is drawn again from the same secret, so it comes out the same: it is one release, and it
        was charged once. Raises SiloError if it was begun for another request.
        """
        return self.find(f"{release}/key", request)

    def new_key(self, release: str, request: str) -> bytes:
        """Begin `release`: a fresh secret from the operating system, on disk before anything is drawn from it."""
        return self.keep(f"{release}/key", request, os.urandom(_KEY_BYTES))

    def keep(self, release: str, request: str, content: bytes) -> bytes:
        """Keep `content` for good: on disk, whole, before this returns. Returns what is kept: of two samples the first.

        Raises SiloError if another request was answered in the meantime.
        """
        path = self._path(release)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = path.with_suffix(f".{secrets.token_hex(8)}.partial")
        with partial.open("wb") as handle:
            handle.write(msgspec.msgpack.encode(Kept(request, content)))
            handle.flush()
            os.fsync(handle.fileno())
        with suppress(FileExistsError):
            os.link(partial, path)  # never over another: that one may have left already
        partial.unlink()
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        if not release.endswith("/key"):
            self._path(f"{release}/key").unlink(missing_ok=True)  # nothing will be drawn from it again
        kept = self.find(release, request)
        if kept is None:
            raise SiloError(f"the {release} of this job could not be kept; nothing leaves that is not kept.")
        return kept

    def forget(self, release: str) -> None:
        """Drop a release that no one will ask for again; it stays charged, so it can never be made anew."""
        self._path(release).unlink(missing_ok=True)

    def _path(self, release: str) -> Path:
        if not _RELEASE.fullmatch(release):
            raise SiloError("that is not a release fedward makes.")
        return self._folder / f"{release.replace('/', '-')}.release"
