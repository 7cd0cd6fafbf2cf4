"""Whose public keys an auditor believes: the file that reaches them by another way than the aggregator."""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct

from protocol.canonical import canonical_json
from protocol.consortium.records import Digest, Roster
from protocol.errors import InputError


class SiteKeys(Struct, frozen=True, forbid_unknown_fields=True, tag_field="schema", tag="fedward.site-keys/1"):
    """Ed25519 public keys in hexadecimal: the aggregator's and each silo's."""

    aggregator: Digest
    sites: dict[str, Digest]

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical_json(msgspec.to_builtins(self))


def read_keys(path: Path) -> SiteKeys:
    """From a file of keys, or from a consortium's roster.json. Raises InputError."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=SiteKeys | Roster)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); name the file of the hospitals' public keys.") from error
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is neither a file of public keys nor a consortium's roster: {error}.") from error
    if isinstance(found, SiteKeys):
        return found
    return SiteKeys(found.aggregator.identity, {member.name: member.identity for member in found.members})
