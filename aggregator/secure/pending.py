"""A masked sum that is complete, kept until it is opened.

Silos open one sum a round and purpose. An aggregator that was killed in between must go on with that very sum, so it is on disk
before anybody is asked to vouch for it.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from msgspec import Struct

from aggregator.journal import Journal
from privacy.secure_aggregation.masking import Unsigned
from privacy.secure_aggregation.server_state import ServerState
from protocol.canonical import digest_bytes
from protocol.errors import JournalError
from protocol.messages import Receipt
from protocol.secure_aggregation import UPDATE


class Complete(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything known of the attempt: the server's state, receipts and work of who came, why others failed, when it began."""

    state: bytes
    digest: str
    receipts: dict[str, Receipt]
    failures: dict[str, str]
    started_at: float
    work: dict[str, float] = {}


class Pending:
    """At most one complete sum for each purpose, in the job's journal and folder."""

    def __init__(self, journal: Journal, folder: Path, purpose: str = UPDATE) -> None:
        own = "" if purpose == UPDATE else f"/{purpose}"
        self._journal, self._key = journal, f"secure/pending{own}"
        self._path = folder / f"pending-sum{own.replace('/', '-')}.npy"

    def keep(
        self,
        state: ServerState,
        total: Unsigned,
        receipts: dict[str, Receipt],
        failures: dict[str, str],
        started_at: float,
        work: dict[str, float] | None = None,
    ) -> None:
        """On disk before this returns. Raises JournalError."""
        partial = self._path.with_suffix(".partial")
        try:
            with partial.open("wb") as file:
                np.save(file, total, allow_pickle=False)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self._path)
        except OSError as error:
            raise JournalError(f"the masked sum could not be written ({error}). Free space, then run with --resume.") from error
        digest = digest_bytes(total.view(np.uint8).data)
        self._journal.remember(self._key, Complete(state.to_bytes(), digest, receipts, failures, started_at, work or {}))

    def of_round(self, number: int) -> tuple[ServerState, Unsigned, Complete] | None:
        """The complete sum of round `number`, if that is where the job stopped. Raises JournalError if it is damaged."""
        known = self._journal.fact(self._key, Complete | None)  # type: ignore[arg-type]
        if known is None:
            return None
        state = ServerState.from_bytes(known.state)
        if state.where.round != number:
            return None
        try:
            total = np.load(self._path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise JournalError(
                f"the masked sum of round {number} is missing or damaged; start again in a new --out."
            ) from error
        if digest_bytes(total.view(np.uint8).data) != known.digest:
            raise JournalError(f"the masked sum of round {number} is not the one that was kept; start again in a new --out.")
        return state, total, known

    def drop(self) -> None:
        """Forget it: it was opened and committed, or cannot be opened any more."""
        self._journal.remember(self._key, None)
        self._path.unlink(missing_ok=True)
