"""Signed receipts of the ledger's head: what shows that an older copy of a ledger was put in its place.

The newest is kept in the silo's state, which lies apart from the ledger, and travels with every private release; the
aggregator hands it back when it describes the job again.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

import msgspec

from privacy.ledger import Head
from protocol.errors import LedgerError
from protocol.identity import Identity, verify
from protocol.messages import Receipt


class Receipts:
    """Makes, keeps and recognises the receipts of one silo's ledger of `cohort`."""

    def __init__(self, identity: Identity, cohort: str, path: Path) -> None:
        self._identity, self._cohort, self.path = identity, cohort, path

    def issue(self, head: Head) -> Receipt:
        """A receipt for `head`, kept on disk before it is returned."""
        body = _body(self._cohort, head.entries, head.digest)
        receipt = Receipt(self._cohort, head.entries, head.digest, self._identity.public_key, self._identity.sign(body))
        partial = self.path.with_suffix(f".{secrets.token_hex(8)}.partial")  # two runs may charge one ledger at a time
        with partial.open("wb") as handle:
            handle.write(msgspec.json.encode(receipt))
            handle.flush()
            os.fsync(handle.fileno())
        partial.replace(self.path)
        return receipt

    def heads(self, presented: Iterable[Receipt]) -> list[Head]:
        """Heads this silo once signed: the kept one and those of `presented` that are its own; others are ignored."""
        own = [receipt for receipt in presented if receipt.public_key == self._identity.public_key and self._valid(receipt)]
        if self.path.exists():
            own.append(self._kept())
        return [Head(receipt.entries, receipt.head) for receipt in own if receipt.cohort == self._cohort]

    def _kept(self) -> Receipt:
        try:
            receipt = msgspec.json.decode(self.path.read_bytes(), type=Receipt)
        except (OSError, msgspec.DecodeError) as error:
            raise LedgerError(f"{self.path.name} cannot be read; restore it from your backup.") from error
        if not self._valid(receipt):
            raise LedgerError(f"{self.path.name} was not signed by this silo; restore it from your backup.")
        return receipt

    def _valid(self, receipt: Receipt) -> bool:
        body = _body(receipt.cohort, receipt.entries, receipt.head)
        return verify(self._identity.public_key, receipt.signature, body)


def _body(cohort: str, entries: int, head: str) -> dict[str, object]:
    return {"schema": "fedward.receipt/1", "cohort": cohort, "entries": entries, "head": head}
