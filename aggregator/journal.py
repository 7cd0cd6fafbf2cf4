"""The job's durable memory: SQLite in WAL mode with full synchronisation, and one model file per committed round.

A round is committed in this order: the model file is written whole and synced, then one transaction records the round with
the file's digest. Killed before the transaction, the round never happened; killed after it, the round is complete.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
from safetensors import SafetensorError

from aggregator.records import RoundRecord
from protocol.errors import JournalError, MessageError
from protocol.vectors import Vector, load_tensors, save_tensors, vector_digest

_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS attempts (round INTEGER NOT NULL, attempt INTEGER NOT NULL, outcome TEXT NOT NULL,
                                     PRIMARY KEY (round, attempt)) STRICT;
CREATE TABLE IF NOT EXISTS rounds (round INTEGER PRIMARY KEY, record BLOB NOT NULL) STRICT;
"""
_VERSION = b"fedward.journal/1"
T = TypeVar("T")


class Journal:
    """One job's journal in `folder`. Only one process may write it at a time."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._models = folder / "models"
        self._models.mkdir(exist_ok=True)
        try:
            self._db = sqlite3.connect(folder / "journal.sqlite", isolation_level=None, timeout=1.0)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            # Held until close: a second process on the same job is refused instead of interleaving rounds.
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.executescript(_SCHEMA)
            self._db.execute("INSERT OR IGNORE INTO facts VALUES ('version', ?)", (_VERSION,))
        except sqlite3.OperationalError as error:
            raise JournalError(f"the journal cannot be opened ({error}). Is another run using this --out folder?") from error
        except sqlite3.DatabaseError as error:
            raise JournalError(f"the journal is damaged ({error}). Start again in a new --out folder.") from error
        if self.bytes("version") != _VERSION:
            raise JournalError("the journal was written by another release of fedward; finish the job with that one.")

    # ------------------------------------------------------------------------------------------------------------ facts

    def bytes(self, key: str) -> bytes | None:
        """The fact `key`, as stored."""
        row = self._db.execute("SELECT value FROM facts WHERE key = ?", (key,)).fetchone()
        return None if row is None else bytes(row[0])

    def fact(self, key: str, kind: type[T]) -> T | None:
        """The fact `key` as a record of type `kind`, or None."""
        data = self.bytes(key)
        try:
            return None if data is None else msgspec.json.decode(data, type=kind)
        except msgspec.DecodeError as error:
            raise JournalError(f"the journal's {key} cannot be read: {error}") from error

    def remember(self, key: str, value: object) -> None:
        """Store a fact durably; bytes as they are, everything else as JSON."""
        self.remember_all({key: value})

    def remember_all(self, facts: Mapping[str, object]) -> None:
        """Store several facts in one transaction: all of them or none. Raises JournalError."""
        insert = "INSERT INTO facts VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        with _writing(self._db):
            self._db.execute("BEGIN IMMEDIATE")
            for key, value in facts.items():
                self._db.execute(insert, (key, value if isinstance(value, bytes) else msgspec.json.encode(value)))
            self._db.execute("COMMIT")

    def keys(self) -> frozenset[str]:
        """Names of all facts."""
        return frozenset(row[0] for row in self._db.execute("SELECT key FROM facts"))

    # ----------------------------------------------------------------------------------------------------------- rounds

    def begin(self, number: int) -> int:
        """Open an attempt at a round; returns its number, counted from 0."""
        row = self._db.execute("SELECT COALESCE(MAX(attempt) + 1, 0) FROM attempts WHERE round = ?", (number,)).fetchone()
        with _writing(self._db):
            self._db.execute("INSERT INTO attempts VALUES (?, ?, 'open')", (number, row[0]))
        return int(row[0])

    def fail(self, number: int, attempt: int, reason: str) -> None:
        """Record that an attempt was given up."""
        with _writing(self._db):
            self._db.execute(
                "UPDATE attempts SET outcome = ? WHERE round = ? AND attempt = ?", (f"failed: {reason}", number, attempt)
            )

    def commit(self, record: RoundRecord, model: Vector, state: Mapping[str, Vector], keep: int) -> None:
        """Make a round permanent, with the model and the strategy's state after it; keep the last `keep` model files."""
        with _writing(self._db):
            save_tensors(self._path(record.round), {"model": model, **{f"state/{k}": v for k, v in state.items()}})
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("INSERT INTO rounds VALUES (?, ?)", (record.round, msgspec.json.encode(record)))
            self._db.execute(
                "UPDATE attempts SET outcome = 'committed' WHERE round = ? AND attempt = ?", (record.round, record.attempt)
            )
            self._db.execute("COMMIT")
        for path in self._models.glob("round-*.safetensors"):
            if int(path.stem.removeprefix("round-")) <= record.round - max(1, keep):
                path.unlink(missing_ok=True)

    def rounds(self) -> tuple[RoundRecord, ...]:
        """Every committed round, in order."""
        rows = self._db.execute("SELECT record FROM rounds ORDER BY round")
        return tuple(msgspec.json.decode(row[0], type=RoundRecord) for row in rows)

    def attempts(self) -> tuple[tuple[int, int, str], ...]:
        """(round, attempt, outcome) of everything that was tried."""
        return tuple(self._db.execute("SELECT round, attempt, outcome FROM attempts ORDER BY round, attempt"))

    def model(self, record: RoundRecord) -> tuple[Vector, dict[str, Vector]]:
        """The global vector and strategy state after a committed round. Raises JournalError if the file is not that one."""
        try:
            tensors = load_tensors(self._path(record.round))
        except MessageError as error:
            raise JournalError(
                f"the model of round {record.round} is missing or damaged. Start again in a new --out folder."
            ) from error
        model = np.asarray(tensors.pop("model"), dtype=np.float32)
        if vector_digest(model) != record.model_digest:
            raise JournalError(f"the model file of round {record.round} is not the one the journal committed.")
        return model, {name.removeprefix("state/"): np.asarray(value, dtype=np.float32) for name, value in tensors.items()}

    def close(self) -> None:
        """Release the journal for another process."""
        self._db.close()

    def _path(self, number: int) -> Path:
        return self._models / f"round-{number:05d}.safetensors"


@contextmanager
def _writing(db: sqlite3.Connection) -> Iterator[None]:
    """Turn a write that failed, on a full disk say, into a JournalError; what was committed before stays."""
    try:
        yield
    except (OSError, SafetensorError, sqlite3.OperationalError) as error:
        if db.in_transaction:
            db.rollback()
        raise JournalError(
            f"the journal could not be written ({error}); what was committed is kept. Free space, then run again with --resume."
        ) from error
