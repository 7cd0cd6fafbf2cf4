"""The plans that were handed over to this hospital, kept as they arrived: what an officer reads is what the node compares."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from protocol.canonical import canonical_json
from protocol.errors import FedwardError, InputError
from protocol.governance.submission import COVER, PLAN, HandedOver, parse, unpack

_JOB = "job.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """One plan under review. `job` is its name as PySyft knows it, `sender` whom the answer goes to."""

    handed_over: HandedOver
    job: str
    sender: str

    @property
    def digest(self) -> str:
        """The plan's."""
        return self.handed_over.plan.digest


class RequestBook:
    """Requests by the digest of their plan, each in a folder of its own below `folder`."""

    def __init__(self, folder: Path, hospital: str, researchers: Mapping[str, bytes]) -> None:
        self._folder, self._hospital, self._researchers = folder, hospital, dict(researchers)

    def take_up(self, job: str, sender: str, files: Mapping[str, bytes]) -> Request:
        """Keep what was handed over. Raises TrustError or PlanError if it is nothing that could be approved."""
        request = self.read(job, sender, files)
        self.keep(request, files)
        return request

    def read(self, job: str, sender: str, files: Mapping[str, bytes]) -> Request:
        """What was handed over; nothing is kept. Raises as `take_up`."""
        name = sender.partition("@")[0]
        return Request(unpack(files, self._researchers, self._hospital, name), job, sender)

    def keep(self, request: Request, files: Mapping[str, bytes]) -> None:
        """Keep a request that was read from `files`, if none of that plan is kept."""
        place = self._place(request.digest)
        if not self.holds(request.digest):
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
            about = canonical_json({"job": request.job, "sender": request.sender})
            for file, data in {PLAN: files[PLAN], COVER: files[COVER], _JOB: about}.items():
                _write(place / file, data)  # the last makes it count

    def holds(self, digest: str) -> bool:
        """Whether a request of that plan is kept."""
        return (self._place(digest) / _JOB).exists()

    def kept(self, digest: str) -> Request:
        """The request of that plan as officers read it. Raises InputError if it is not there or cannot be read."""
        return self._open(self._place(digest))

    def files(self, digest: str) -> tuple[Path, ...]:
        """The files of a request, the one that makes it count first: without it there is none."""
        return tuple(self._place(digest) / name for name in (_JOB, PLAN, COVER))

    def size(self, digest: str) -> int:
        """Bytes of a request."""
        return sum(path.stat().st_size for path in self._place(digest).glob("*"))

    def all(self) -> tuple[Request, ...]:
        """Every request that can be read, the newest first. One that cannot is said in the log, and holds up none."""
        if not self._folder.is_dir():
            return ()
        found = []
        for place in self._folder.iterdir():
            try:
                found += [self._open(place)] if (place / _JOB).exists() else []
            except InputError as error:
                _log.warning("%s", error)
        return tuple(sorted(found, key=lambda one: (one.handed_over.cover.at, one.digest), reverse=True))

    def find(self, text: str) -> Request:
        """The request whose plan's digest begins so, or whose plan or job has that name. Raises InputError.

        A whole digest is one plan's, whatever name a researcher gave to another.
        """
        wanted = text.removeprefix("sha256:")
        found = [one for one in self.all() if one.digest.removeprefix("sha256:") == wanted] or [
            one
            for one in self.all()
            if (len(wanted) >= 4 and one.digest.removeprefix("sha256:").startswith(wanted))
            or text in (one.job, one.handed_over.plan.name)
        ]
        if len(found) == 1:
            return found[0]
        if not found:
            raise InputError(f"no plan {text!r} was handed over; `fedward silo requests` lists them.")
        known = ", ".join(one.digest.removeprefix("sha256:")[:12] for one in found)
        raise InputError(f"{text!r} is not one plan but {len(found)}; name one by its digest: {known}.")

    def _open(self, place: Path) -> Request:
        """Who signed it was looked at when it was taken up, and this folder is the hospital's own."""
        try:
            about = json.loads((place / _JOB).read_bytes())
            files = {name: (place / name).read_bytes() for name in (PLAN, COVER)}
            return Request(parse(files), about["job"], about["sender"])
        except (OSError, ValueError, KeyError, FedwardError) as error:
            raise InputError(f"the request {place.name} cannot be read ({error}); remove its folder and sync again.") from error

    def _place(self, digest: str) -> Path:
        return self._folder / digest.removeprefix("sha256:")


def _write(path: Path, data: bytes) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())
    partial.replace(path)
