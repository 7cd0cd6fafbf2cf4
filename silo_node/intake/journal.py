"""The memory of an unfinished import: one line a file, appended after its pixels, so that a kill loses nothing.

The folder `<store>.partial` holds `journal.jsonl`, a lock and `store/`, which becomes the store by one rename.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from protocol.errors import StoreError
from silo_node.cohort import format as fmt
from silo_node.cohort.pixels import PixelFile, disk_error
from silo_node.intake.listing import Found, listing_digest
from silo_node.intake.messages import Context, Outcome
from silo_node.intake.pseudonym import key_check

JOURNAL = "journal.jsonl"
PIPELINE = 2
"""Raised whenever the same files would become other samples: an unfinished import of an older one begins again."""


class Header(msgspec.Struct, frozen=True):
    """First line: what this import is an import of. Another fingerprint means: begin again."""

    fingerprint: str


class Journal:
    """Outcomes so far, and the pixels they speak of. `earlier` are those of a run that did not end."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.store = folder / "store"
        path = folder / JOURNAL
        header, lines = read(path)
        self.began_again = header is not None and header.fingerprint != fingerprint
        if header is None or self.began_again:
            shutil.rmtree(self.store, ignore_errors=True)
            path.unlink(missing_ok=True)
            lines = []
        self.store.mkdir(mode=0o700, exist_ok=True)
        self.pixels = PixelFile(self.store / fmt.PIXELS)
        self.earlier: list[Outcome] = []
        for number, outcome in enumerate(lines):
            if outcome.number != number or (outcome.size and not self.pixels.adopt(outcome.size, outcome.sha256)):
                break
            self.earlier.append(outcome)
        self.pixels.truncate()
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
        self._write(Header(fingerprint))
        for outcome in self.earlier:
            self._write(outcome)
        self.flush()

    def append(self, outcome: Outcome, pixels: bytes | bytearray) -> None:
        """Take in one outcome. Its record offsets must be those of the store, and fit where the pixels go."""
        if outcome.size:
            self.pixels.append(pixels)
        self._write(outcome)

    def flush(self) -> None:
        """Hand pixels, then lines, to the operating system: what it has survives our death."""
        self.pixels.flush()
        try:
            self._file.flush()
        except OSError as error:
            raise disk_error(error) from error

    def close(self) -> None:
        """Close both files."""
        self.pixels.close()
        self._file.close()

    def _write(self, line: msgspec.Struct) -> None:
        try:
            self._file.write(msgspec.json.encode(line) + b"\n")
        except OSError as error:
            raise disk_error(error) from error


def fingerprint(files: Sequence[Found], context: Context) -> str:
    """What the outcome of an import depends on, as one digest that tells nothing."""
    digest = hashlib.sha256(listing_digest(files).encode())
    digest.update(msgspec.json.encode((PIPELINE, key_check(context.key), context.values, context.labels)))
    digest.update(msgspec.json.encode((context.decoded_bytes, context.seconds)))
    return digest.hexdigest()


def read(path: Path) -> tuple[Header | None, list[Outcome]]:
    """Header and whole lines of a journal; what a kill or a power cut left half-written is dropped."""
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return None, []
    outcomes: list[Outcome] = []
    try:
        header = msgspec.json.decode(lines[0], type=Header)
        for line in lines[1:]:
            outcomes.append(msgspec.json.decode(line, type=Outcome))  # noqa: PERF401  keep what came before a bad line
    except IndexError:
        return None, []
    except msgspec.DecodeError:
        if not outcomes:
            return None, []
    return header, outcomes


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder` against a second import at the same time; made if absent. StoreError if another one has it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise disk_error(error) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(
                "Another import to this store is running. Wait for it to end, or choose another --store."
            ) from None
        yield
    finally:
        os.close(descriptor)
