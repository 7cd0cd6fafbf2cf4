"""Which files of the share travel between the coordinator and a hospital, and which side may write them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path

from protocol.errors import TrustError
from protocol.governance.bounds import INBOX, oldest
from protocol.governance.pysyft.share import Share
from protocol.governance.reports import FILES, KIND

_DIGEST = re.compile(r"[0-9a-f]{64}")
_OF_ITSELF = ("pin.json", "version.json")


def check(share: Share, path: str, hospital: str, *, own: bool) -> None:
    """Raises TrustError for a path that the other side may not write: `own` says whether that side is the hospital."""
    share.find(path)
    if not _belongs(path, hospital, own=own):
        raise TrustError("the other side of the courier named a file that is not its to write; nothing was taken.")


def _belongs(path: str, hospital: str, *, own: bool) -> bool:
    first, *rest = path.split("/")
    if first == "box" and len(rest) >= 2:
        if rest[0] != hospital:
            return not own and (rest[1:] == ["bundles", f"{hospital}.json"] or (len(rest) == 2 and rest[1] in _OF_ITSELF))
        return own and (rest[1] in ("bundles", "collections") or (len(rest) == 2 and rest[1] in _OF_ITSELF))
    if first != "p2p" or len(rest) != 4 or rest[0] != hospital:
        return False
    if rest[1] == KIND:
        return not own and _DIGEST.fullmatch(rest[2]) is not None and rest[3] in FILES
    return rest[1] == ("outbox" if own else "inbox")


def is_report(path: str) -> bool:
    """Whether the path is of a finished job's report."""
    return path.split("/")[2:3] == [KIND]


def own(share: Share, hospital: str) -> Iterator[Path]:
    """What the hospital has to say."""
    box = share.at("box", hospital)
    yield from (box / name for name in _OF_ITSELF)
    for folder in (box / "bundles", box / "collections", share.at("p2p", hospital, "outbox")):
        yield from sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def from_others(share: Share, hospital: str, strangers: Collection[str] = ()) -> Iterator[Path]:
    """What others say of themselves, and of each sender's messages the oldest."""
    boxes, inbox = share.at("box"), share.at("p2p", hospital, "inbox")
    others = sorted(box for box in boxes.iterdir() if box.name not in (hospital, *strangers)) if boxes.is_dir() else []
    for box in others:
        yield from (box / name for name in (*_OF_ITSELF, f"bundles/{hospital}.json"))
    senders = sorted(one for one in inbox.iterdir() if share.names(one)) if inbox.is_dir() else []
    bound = INBOX.shared_by(len(senders))
    for sender in senders:
        yield from oldest(share, sender, bound)


def reports(share: Share, hospital: str) -> Iterator[Path]:
    """The reports that lie there for the hospital."""
    folder = share.at("p2p", hospital, KIND)
    for job in sorted(folder.iterdir()) if folder.is_dir() else ():
        if _DIGEST.fullmatch(job.name):
            yield from (job / name for name in FILES)


def taken(share: Share, hospital: str) -> frozenset[str]:
    """Inbox paths of messages that were taken or put aside."""
    found = set()
    for kind in ("archive", "quarantine"):
        folder = share.at("p2p", hospital, kind)
        for sender in folder.iterdir() if folder.is_dir() else ():
            found |= {f"p2p/{hospital}/inbox/{sender.name}/{name}" for name in share.names(sender)}
    return frozenset(found)
