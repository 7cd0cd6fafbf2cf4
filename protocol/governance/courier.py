"""Carries the share between the coordinator and a hospital over the consortium's own transport, so that no folder is mounted.

The coordinator keeps one share that researchers reach; each hospital keeps one of its own. The coordinator asks, the hospital
answers; each ask and each answer hold whole files, and what is already there is not sent again. What is in the files PySyft has
encrypted from end to end: the courier reads only names. A hospital takes files in its inbox, what researchers say of themselves
and the reports of jobs in which it took part; the coordinator takes what the hospital says of itself and its outbox. Nobody can
write anything else. Of each sender's messages only the oldest travel (protocol.governance.bounds), the rest as they are taken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from protocol.errors import MessageError, TrustError
from protocol.governance import carried
from protocol.governance.bounds import INBOX, MESSAGE_BYTES, Bound
from protocol.governance.pysyft.share import Share

PREFIX = b"fedward.courier/1\n"
LIMIT = 24 << 20
"""Bytes of files in one message, but always one file."""


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
    gone_by = carried.taken(share, hospital)
    for path in (*(file.path for file in ask.files), *ask.gone):
        carried.check(share, path, hospital, own=False)
    for file in ask.files:
        if file.path not in gone_by:
            _refuse_flood(share, hospital, file)
            _put(share, file)
    for path in ask.gone:
        share.remove(share.find(path))
    own = _digests(share, carried.own(share, hospital))
    gone = tuple(sorted(ask.held.keys() - own.keys()))
    there = _digests(share, (*carried.from_others(share, hospital), *carried.reports(share, hospital)))
    return Answer(_files(share, own, ask.held), gone, there, tuple(sorted(gone_by)))


class Courier:
    """The coordinator's end for one hospital. `strangers`: boxes that are none of its business, as those of other hospitals.

    `reports` lies apart from the share, on which researchers could read what is in it (protocol.governance.reports).
    """

    def __init__(self, share: Share, hospital: str, strangers: Collection[str] = (), reports: Share | None = None) -> None:
        self._share, self._hospital, self._strangers = share, hospital, frozenset(strangers)
        self._reports = reports
        self._there: Mapping[str, str] | None = None

    def ask(self) -> Ask:
        """What to send next; the first only asks what is there."""
        held = _digests(self._share, carried.own(self._share, self._hospital))
        if self._there is None:
            return Ask((), (), held)
        for_it = self._for_it()
        missing = {path: digest for path, digest in for_it.items() if self._there.get(path) != digest}
        files: tuple[File, ...] = ()
        for source, mine in ((self._share, False), (self._reports, True)):  # a message holds files of one or the other
            wanted = {path: digest for path, digest in missing.items() if carried.is_report(path) is mine}
            files = files or (() if source is None else _files(source, wanted, {}))
        gone = sorted(path for path in self._there.keys() - for_it.keys() if self._is_gone(path))
        return Ask(files, tuple(gone), held)

    def take(self, found: Answer) -> bool:
        """Put what came in its place; True if there is nothing more to carry either way. Raises TrustError, taking nothing."""
        for path in (*(file.path for file in found.files), *found.gone):
            carried.check(self._share, path, self._hospital, own=True)
        for path in found.taken:
            carried.check(self._share, path, self._hospital, own=False)
        for file in found.files:
            _put(self._share, file)
        for path in (*found.gone, *found.taken):
            self._share.remove(self._share.find(path))
        self._there = dict(found.held)
        return not found.files and self._there == self._for_it()

    def _for_it(self) -> dict[str, str]:
        found = _digests(self._share, carried.from_others(self._share, self._hospital, self._strangers))
        reports = {} if self._reports is None else _digests(self._reports, carried.reports(self._reports, self._hospital))
        return found | reports

    def _is_gone(self, path: str) -> bool:
        """Not what only waits until older messages are taken."""
        return carried.is_report(path) or not self._share.find(path).exists()


def _put(share: Share, file: File) -> None:
    if carried.is_report(file.path):  # for the hospital's own account, whatever the share's folders are for
        share.find(file.path).parents[1].mkdir(parents=True, exist_ok=True, mode=0o700)
    share.put(share.find(file.path), file.data)


def _refuse_flood(share: Share, hospital: str, file: File) -> None:
    """Raises TrustError for more messages of one sender than any honest coordinator brings."""
    names = file.path.split("/")
    if names[:3] != ["p2p", hospital, "inbox"]:
        return
    folder = share.find(file.path).parent
    held = {name: (folder / name).stat().st_size for name in share.names(folder) if name != names[-1]}
    limit = Bound(2 * INBOX.files, 2 * INBOX.size)
    if len(file.data) > MESSAGE_BYTES or len(held) >= limit.files or sum(held.values()) + len(file.data) > limit.size:
        raise TrustError("the courier brings more messages of one sender than may wait here; nothing more of them was taken.")


def _digests(share: Share, paths: Iterable[Path]) -> dict[str, str]:
    read = ((share.identify(path), _whole(share, path)) for path in paths)
    return {name: hashlib.sha256(data).hexdigest() for name, data in read if data is not None}


def _whole(share: Share, path: Path) -> bytes | None:
    """None for what cannot be carried: gone meanwhile, or too large. One such file holds up none of the others."""
    try:
        return share.get(path)
    except (OSError, TrustError):
        return None


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


def _decode(data: bytes, kind: type[M]) -> M:
    if not data.startswith(PREFIX):
        raise MessageError("this is no message of the courier.")
    try:
        return msgspec.msgpack.decode(data[len(PREFIX) :], type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise MessageError("this is no message of the courier.") from error
