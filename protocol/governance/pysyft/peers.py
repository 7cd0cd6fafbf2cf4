"""Whom a party knows on the share, as PySyft remembers it there: box/<party>/peers.json, and what is done if that is junk."""

from __future__ import annotations

import json
import logging
from typing import Any

from protocol.errors import TrustError
from protocol.governance.pysyft.share import Share

_FILE = "peers.json"
_log = logging.getLogger(__name__)


def read_peers(share: Share, email: str) -> dict[str, Any]:
    """Each peer's state and key bundle by its email; empty before there is one. Raises TrustError for junk, naming the file."""
    path = share.at("box", email, _FILE)
    if not path.exists():
        return {}
    try:
        found = json.loads(share.get(path))
        if isinstance(found, dict) and all(_is_entry(entry) for entry in found.values()):
            return found
    except (TrustError, OSError, ValueError, RecursionError):
        pass
    raise TrustError(
        f"{share.identify(path)} on the share is no list of known parties any more. Run the command again: it is put aside, "
        "and whoever asks and is pinned is let in anew."
    )


def write_peers(share: Share, email: str, peers: dict[str, Any]) -> None:
    """Keep the list."""
    share.put(share.at("box", email, _FILE), json.dumps(peers, indent=1).encode())


def mend_peers(share: Share, email: str) -> str:
    """Put junk aside, so that not every later look at the share fails at it. Returns what was done, in words; "" for nothing.

    Nothing is lost by it: who was let in asks again, and is let in again only with the pinned key.
    """
    path = share.at("box", email, _FILE)
    try:
        read_peers(share, email)
    except TrustError:
        aside = path.with_name(f"{_FILE}.unreadable")
        path.replace(aside)
        said = (
            f"{share.identify(path)} on the share could not be read and was put aside as {aside.name}; see who can write "
            "there. Whoever is pinned is let in anew."
        )
        _log.warning("%s", said)
        return said
    return ""


def _is_entry(entry: object) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("state", ""), str)
        and isinstance(entry.get("public_encryption_bundle"), dict | None)
    )
