"""Files of a party: private ones that nobody else may read, and public ones that are replaced in one step."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from protocol.errors import ConsortiumError, IdentityError, TrustError

MAX_BYTES = 1 << 20
"""Largest request, roster or kit that is read: a roster of 50 hospitals has under 40 KiB."""


def read_private(path: Path) -> bytes:
    """The bytes of a private key file. Raises IdentityError if it is missing or may be read by others."""
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise IdentityError(f"{path.name} may be read by others; run chmod 600 on it, and think of making a new one.")
        return path.read_bytes()
    except OSError as error:
        raise IdentityError(f"{path} cannot be read ({error.strerror}). Restore it from your backup.") from error


def read_public(path: Path) -> bytes:
    """The bytes of a file that others may know, at most MAX_BYTES. Raises ConsortiumError, TrustError."""
    try:
        with path.open("rb") as handle:
            data = handle.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConsortiumError(f"{path} cannot be read ({error.strerror}). Check the path.") from error
    if len(data) > MAX_BYTES:
        raise TrustError(f"{path.name} is larger than {MAX_BYTES} bytes: none of ours is. Ask for it again.")
    return data


def replace(path: Path, data: bytes, *, private: bool = False) -> None:
    """Put `data` in the place of `path`, wholly or not at all. Private files get mode 0600, others 0644 less the umask."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o644)
        try:
            with os.fdopen(descriptor, "wb") as handle:
                handle.write(data)
                handle.flush()
                os.fsync(handle.fileno())
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise ConsortiumError(f"{path} cannot be written ({error.strerror}). Check the folder and the disk.") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
