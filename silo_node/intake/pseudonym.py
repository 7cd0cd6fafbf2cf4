"""Keyed pseudonyms: the same person is the same pseudonym here, and nothing at all to whoever lacks the key."""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
from collections.abc import Callable
from pathlib import Path

from protocol.errors import InputError

ENVIRONMENT = "FEDWARD_PSEUDONYM_KEY"
KEY_BYTES = 32


def patient_pseudonym(key: bytes, patient_id: str, issuer: str = "") -> str:
    """32 hex digits that stand for one patient."""
    return _keyed(key, "patient", issuer, patient_id)


def person_pseudonym(key: bytes, patient_id: str) -> str:
    """32 hex digits that stand for a PatientID, whoever issued it; only used to notice a missing issuer."""
    return _keyed(key, "person", patient_id)


def instance_pseudonym(key: bytes, uid: str) -> str:
    """32 hex digits that stand for one SOP instance."""
    return _keyed(key, "instance", uid)


def key_check(key: bytes) -> str:
    """Tells whether two imports used the same key, without telling the key."""
    return _keyed(key, "check")


def _keyed(key: bytes, *parts: str) -> str:
    return hmac.new(key, "\0".join(parts).encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()[:32]


def key_path(chosen: Path | None) -> Path:
    """`chosen`, else the environment's FEDWARD_PSEUDONYM_KEY, else the user's data folder."""
    if chosen is not None:
        return chosen
    if from_environment := os.environ.get(ENVIRONMENT):
        return Path(from_environment)
    import platformdirs

    return Path(platformdirs.user_data_dir("fedward")) / "pseudonym.key"


def load_or_create_key(path: Path, on_notice: Callable[[str], None] = lambda _: None) -> bytes:
    """The secret at `path`; made from the system's randomness (mode 0600), and said so, if there is none.

    InputError if others may read it or if it is not a key: a pseudonym under a known key is no pseudonym.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _create(path):
            on_notice(
                f"A new pseudonym key was made: {path.absolute()}. Back it up apart from the store. If this hospital has "
                "imported before, its patients now get other pseudonyms than then: to keep them, give the earlier file "
                "with --key and import again."
            )
    except FileExistsError:
        pass
    except OSError as error:
        raise InputError(f"The pseudonym key cannot be made ({error.strerror}). Give a writable --key file.") from error
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            secret = file.read(KEY_BYTES + 1)
    except OSError as error:
        raise InputError(f"The pseudonym key cannot be read ({error.strerror}). Check its owner and mode.") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InputError("The pseudonym key is open to other users. Run `chmod 600` on it, or give another --key.")
    if len(secret) != KEY_BYTES:
        raise InputError(f"The pseudonym key must be {KEY_BYTES} bytes long. Restore it from its backup, or give another.")
    return secret


def _create(path: Path) -> bool:
    """Write the key beside its place, then link it there: never half a key, never over another one. False if it is there."""
    if path.exists():
        return False
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(os.urandom(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    finally:
        draft.unlink()
    return True
