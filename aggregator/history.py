"""What a journal says today: rounds as the guard's verdicts left them, and the model that follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from aggregator.guard import source, standing
from aggregator.journal import Journal
from aggregator.records import AuditRecord, RoundRecord, ScoresRecord, VerdictRecord
from aggregator.strategies import State
from protocol.messages import PrivateScores, Receipt
from protocol.vectors import Vector

T = TypeVar("T")


class History:
    """Reads `journal`, writes nothing."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def scores(self) -> list[ScoresRecord]:
        """Every scoring so far, in order."""
        return self._facts("scores/", ScoresRecord)

    def audit(self) -> AuditRecord | None:
        """The audit of the final model, once it was made or given up."""
        found = self._facts("audit/", AuditRecord)
        return found[-1] if found else None

    def verdicts(self) -> list[VerdictRecord]:
        """What the guard made of every validation so far, in order; none without a guard for them."""
        return self._facts("verdict/", VerdictRecord)

    def rounds(self) -> tuple[RoundRecord, ...]:
        """Every committed round, in order; those that a later validation rejected say so."""
        return standing(self._journal.rounds(), self.verdicts())

    def after(self, number: int) -> tuple[Vector, State]:
        """The global vector and the strategy's state after a committed round; after a rejected one those it went back to."""
        return self._journal.model(self._journal.rounds()[source(number, self.verdicts()) - 1])

    def now(self) -> tuple[Vector, State] | None:
        """What the next round begins with; None before the first."""
        committed = len(self._journal.rounds())
        return self.after(committed) if committed else None

    def receipts(self) -> tuple[Receipt, ...]:
        """The newest receipt of each silo, of rejected rounds too: they were paid for."""
        newest: dict[str, Receipt] = {}
        for record in self._journal.rounds():
            newest |= record.receipts
        for scores in self.scores():
            singly = {silo: one.receipt for silo, one in scores.scores.items() if isinstance(one, PrivateScores)}
            _renew(newest, singly | scores.receipts)
        if (audit := self.audit()) is not None:
            _renew(newest, audit.receipts)
        return tuple(newest.values())

    def _facts(self, prefix: str, kind: type[T]) -> list[T]:
        keys = sorted(key for key in self._journal.keys() if key.startswith(prefix))  # noqa: SIM118 - not a mapping
        return [record for key in keys if (record := self._journal.fact(key, kind)) is not None]


def _renew(newest: dict[str, Receipt], receipts: Mapping[str, Receipt]) -> None:
    """Take from `receipts` those that hold more charges than what is known of the silo."""
    for silo, receipt in receipts.items():
        if silo not in newest or receipt.entries > newest[silo].entries:
            newest[silo] = receipt
