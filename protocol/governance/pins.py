"""Whose PySyft key is whose: each party signs its key's fingerprint with the identity that the others know from their kits.

So nobody is trusted on first sight: a fingerprint counts only under a signature by a key that came another way.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from protocol.canonical import canonical_json
from protocol.errors import TrustError
from protocol.identity import Identity, verify

_FILE = "pin.json"
_MAX_BYTES = 4096


class Pin(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="schema", tag="fedward.pin/1"):
    """The party `email` has the PySyft key with this fingerprint."""

    email: Annotated[str, msgspec.Meta(max_length=256)]
    fingerprint: Annotated[str, msgspec.Meta(max_length=256)]
    signature: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{128}\Z")]


def email_of(name: str, consortium: str) -> str:
    """How PySyft names a party: no mail ever goes there (RFC 2606)."""
    return f"{name}@{consortium or 'fedward'}.invalid"


def name_of(email: str) -> str:
    """The party's name."""
    return email.partition("@")[0]


def introduce(share: Path, email: str, identity: Identity, fingerprint: str) -> None:
    """Put the signed fingerprint of our own key where the others look for it."""
    from protocol.governance.pysyft.share import Share

    fields = {"schema": "fedward.pin/1", "email": email, "fingerprint": fingerprint}
    folder = Share(share)
    folder.put(folder.at("box", email, _FILE), canonical_json(fields | {"signature": identity.sign(fields).hex()}))


def find_pins(share: Path, known: Mapping[str, bytes], problems: list[str] | None = None) -> dict[str, str]:
    """Fingerprints by email, of those parties of `known` (email: Ed25519 public key) that have introduced themselves.

    Raises TrustError for an introduction that the party did not sign; where `problems` is given, it is said there and the
    party has no pin, so that nobody can hold up the others by what is put in their name.
    """
    from protocol.governance.pysyft.share import Share

    folder, found = Share(share), {}
    for email, key in known.items():
        path = folder.at("box", email, _FILE)
        try:
            if path.exists():
                found[email] = _read(folder.get(path)[:_MAX_BYTES], email, key)
        except (TrustError, OSError) as error:
            if problems is None:
                raise
            problems.append(str(error))
    return found


def _read(data: bytes, email: str, key: bytes) -> str:
    try:
        pin = msgspec.json.decode(data, type=Pin)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise TrustError(f"what the share says of the key of {email} is not an introduction; telephone them.") from error
    fields: dict[str, Any] = msgspec.to_builtins(pin)
    signature = bytes.fromhex(fields.pop("signature"))
    if pin.email != email or not verify(key, signature, fields):
        raise TrustError(f"the key on the share under {email} was not signed by them: someone may be in between. Telephone.")
    return pin.fingerprint
