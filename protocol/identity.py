"""Ed25519 identities (RFC 8032): who signed this? One key file a party, readable by its owner only."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocol.canonical import canonical_json
from protocol.errors import IdentityError


class Identity:
    """A private key. `public_key` is its 32 bytes that others may know."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public_key: bytes = key.public_key().public_bytes_raw()

    @classmethod
    def open(cls, path: Path) -> Identity:
        """The identity in `path`, made there with mode 0600 on first use. Raises IdentityError."""
        try:
            if not path.exists():
                _create(path)
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                raise IdentityError(f"{path.name} may be read by others; run chmod 600 on it, and think of making a new one.")
            return cls(Ed25519PrivateKey.from_private_bytes(path.read_bytes()))
        except (OSError, ValueError) as error:
            raise IdentityError(f"{path.name} is not a readable identity: {error}. Restore it from your backup.") from error

    def sign(self, value: Any) -> bytes:
        """Signature over the canonical JSON of `value`."""
        return self.sign_bytes(canonical_json(value))

    def sign_bytes(self, data: bytes) -> bytes:
        """Signature over `data` as it is, which must say itself what it is (protocol.evidence.dsse)."""
        return self._key.sign(data)


def verify(public_key: bytes, signature: bytes, value: Any) -> bool:
    """Whether `signature` over the canonical JSON of `value` was made by the owner of `public_key`."""
    try:
        data = canonical_json(value)
    except ValueError:
        return False
    return verify_bytes(public_key, signature, data)


def verify_bytes(public_key: bytes, signature: bytes, data: bytes) -> bool:
    """Whether `signature` over `data` was made by the owner of `public_key`."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as handle:
        handle.write(Ed25519PrivateKey.generate().private_bytes_raw())
        handle.flush()
        os.fsync(handle.fileno())
    try:
        os.link(partial, path)  # of two that start at once, one key wins
    except FileExistsError:
        pass
    finally:
        partial.unlink()
