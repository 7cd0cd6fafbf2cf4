"""A researcher's desk on disk: keys, the consortium's roster, and where the share is."""

from __future__ import annotations

import json
import re
from pathlib import Path

from protocol.consortium.files import read_public, replace
from protocol.consortium.records import Roster, decode, encode
from protocol.consortium.rosters import check_roster
from protocol.errors import InputError
from protocol.governance.researcher import Researcher
from protocol.identity import Identity

_SETTINGS, _ROSTER, _KEY = "desk.json", "roster.json", "identity.key"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")


def read_roster(path: Path) -> Roster:
    """A roster that its own coordinator signed; whose key that is, people compare. Raises InputError, TrustError."""
    if not path.exists():
        raise InputError(f"{path}: no such file; the coordinator's folder has roster.json.")
    roster = decode(read_public(path), Roster)
    check_roster(roster, roster.coordinator)
    return roster


def make_desk(folder: Path, name: str, roster: Roster, share: Path) -> bytes:
    """Make a desk, or renew the roster of one. Returns the researcher's public key. Raises InputError for a bad name."""
    if not _NAME.fullmatch(name):
        raise InputError(f"{name!r}: a name has a-z, 0-9 and dash only, at most 32.")
    if roster.member(name) is not None:
        raise InputError(f"{name} is a hospital of {roster.consortium}; choose another name.")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    identity = Identity.open(folder / _KEY)
    replace(folder / _ROSTER, encode(roster))
    replace(folder / _SETTINGS, json.dumps({"name": name, "share": str(share.absolute())}).encode())
    return identity.public_key


def open_desk(folder: Path) -> Researcher:
    """The desk in `folder`. Raises InputError if there is none."""
    try:
        settings = json.loads((folder / _SETTINGS).read_bytes())
        name, share = str(settings["name"]), Path(settings["share"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder} is no desk; `fedward desk NAME --roster ROSTER --share FOLDER` makes one.") from error
    roster = read_roster(folder / _ROSTER)
    hospitals = {party.name: bytes.fromhex(party.identity) for party in roster.active}
    return Researcher(name, roster.consortium, Identity.open(folder / _KEY), folder, share, hospitals)
