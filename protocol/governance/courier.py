"""Carries the share between the coordinator and a hospital over the consortium's own transport, so that no folder is mounted.

The coordinator keeps one share that researchers reach; each hospital keeps one of its own. The coordinator asks, the hospital
answers; each ask and each answer hold whole files, and what is already there is not sent again. What is in the files PySyft has
encrypted from end to end: the courier reads only names. A hospital takes files in its inbox, what researchers say of themselves
and the reports of finished jobs; the coordinator takes what the hospital says of itself and its outbox. Nobody can write
anything else.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from protocol.errors import MessageError, TrustError
from protocol.governance.pysyft.share import Share

PREFIX = b"fedward.courier/1\n"
REPORTS, REPORT_FILES = "reports", ("report.json", "report.html")
"""Where the coordinator puts the reports of finished jobs for all hospitals: reports/<digest of the plan>/report.json."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
LIMIT = 24 << 20
"""Bytes of files in one message, but always one file."""
_PUBLIC = ("pin.json", "version.json", "bundles", "collections")


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of the share, whole."""

    path: str
    data: bytes


class Ask(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="ask"):
    """To a hospital: files for it, those that are gone, and digests of what we have of its own."""

    files: tuple[File, ...]
    gone: tuple[str, ...]
    held: dict[str, str]


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="answer"):
    """From a hospital: its own files that differ, those gone, digests of what it has of others, messages it took."""

    files: tuple[File, ...]
    gone: tuple[str, ...]
    held: dict[str, str]
    taken: tuple[str, ...]


M = TypeVar("M", Ask, Answer)


def encode(message: Ask | Answer) -> bytes:
    """The bytes that travel."""
    return PREFIX + msgspec.msgpack.encode(message)


def decode_ask(data: bytes) -> Ask:
    """Raises MessageError."""
    return _decode(data, Ask)


def decode_answer(data: bytes) -> Answer:
    """Raises MessageError."""
    return _decode(data, Answer)


def answer(share: Share, hospital: str, ask: Ask) -> Answer:
    """At the hospital `hospital` (its email): take what came, give what the other does not have. Raises TrustError."""
    taken = _taken(share, hospital)
    for path in (*(file.path for file in ask.files), *ask.gone):
        _check(share, path, hospital, own=False)
    for file in ask.files:
        if file.path not in taken:
            share.put(share.find(file.path), file.data)
    for path in ask.gone:
        share.remove(share.find(path))
    own = _digests(share, hospital, own=True)
    gone = tuple(sorted(ask.held.keys() - own.keys()))
    there = _digests(share, hospital, own=False)
    return Answer(_files(share, own, ask.held), gone, there, tuple(sorted(taken)))


class Courier:
    """The coordinator's end for one hospital. `strangers`: boxes that are none of its business, as those of other hospitals."""

    def __init__(self, share: Share, hospital: str, strangers: Collection[str] = ()) -> None:
        self._share, self._hospital, self._strangers = share, hospital, frozenset(strangers)
        self._there: Mapping[str, str] | None = None

    def ask(self) -> Ask:
        """What to send next; the first only asks what is there."""
        if self._there is None:
            return Ask((), (), _digests(self._share, self._hospital, own=True))
        for_it = self._for_it()
        gone = tuple(sorted(self._there.keys() - for_it.keys()))
        return Ask(_files(self._share, for_it, self._there), gone, _digests(self._share, self._hospital, own=True))

    def take(self, found: Answer) -> bool:
        """Put what came in its place; True if there is nothing more to carry either way. Raises TrustError, taking nothing."""
        for path in (*(file.path for file in found.files), *found.gone):
            _check(self._share, path, self._hospital, own=True)
        for path in found.taken:
            _check(self._share, path, self._hospital, own=False)
        for file in found.files:
            self._share.put(self._share.find(file.path), file.data)
        for path in (*found.gone, *found.taken):
            self._share.remove(self._share.find(path))
        self._there = dict(found.held)
        return not found.files and dict(self._there) == self._for_it()

    def _for_it(self) -> dict[str, str]:
        found = _digests(self._share, self._hospital, own=False)
        return {path: digest for path, digest in found.items() if path.split("/")[1] not in self._strangers}


def _check(share: Share, path: str, hospital: str, *, own: bool) -> None:
    """Raises TrustError for a path that the other side may not write: `own` says whether that side is the hospital."""
    share.find(path)
    if not _belongs(path, hospital, own=own):
        raise TrustError("the other side of the courier named a file that is not its to write; nothing was taken.")


def _belongs(path: str, hospital: str, *, own: bool) -> bool:
    first, *rest = path.split("/")
    if first == REPORTS:
        return not own and len(rest) == 2 and _DIGEST.fullmatch(rest[0]) is not None and rest[1] in REPORT_FILES
    if first == "box" and len(rest) >= 2 and rest[1] in _PUBLIC:
        return (rest[0] == hospital) is own
    return first == "p2p" and len(rest) == 4 and rest[0] == hospital and rest[1] == ("outbox" if own else "inbox")


def _digests(share: Share, hospital: str, *, own: bool) -> dict[str, str]:
    named = ((share.identify(path), path) for path in _walk(share.root))
    read = ((name, _whole(share, path)) for name, path in named if _belongs(name, hospital, own=own))
    return {name: hashlib.sha256(data).hexdigest() for name, data in read if data is not None}


def _whole(share: Share, path: Path) -> bytes | None:
    """None for what cannot be carried: gone meanwhile, or too large. One such file holds up none of the others."""
    try:
        return share.get(path)
    except (OSError, TrustError):
        return None


def _walk(root: Path) -> Iterable[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink() and path.suffix != ".part")


def _files(share: Share, mine: Mapping[str, str], theirs: Mapping[str, str]) -> tuple[File, ...]:
    found: list[File] = []
    size = 0
    for path in sorted(path for path, digest in mine.items() if theirs.get(path) != digest):
        data = _whole(share, share.find(path))
        if data is None:
            continue
        if found and size + len(data) > LIMIT:
            break
        found.append(File(path, data))
        size += len(data)
    return tuple(found)


def _taken(share: Share, hospital: str) -> frozenset[str]:
    """Inbox paths of messages that were taken or put aside."""
    found = set()
    for kind in ("archive", "quarantine"):
        folder = share.at("p2p", hospital, kind)
        for sender in folder.iterdir() if folder.is_dir() else ():
            found |= {f"p2p/{hospital}/inbox/{sender.name}/{name}" for name in share.names(sender)}
    return frozenset(found)


def _decode(data: bytes, kind: type[M]) -> M:
    if not data.startswith(PREFIX):
        raise MessageError("this is no message of the courier.")
    try:
        return msgspec.msgpack.decode(data[len(PREFIX) :], type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise MessageError("this is no message of the courier.") from error
