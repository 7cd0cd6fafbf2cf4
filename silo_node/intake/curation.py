"""The decisions that need more than one file: what is a duplicate, and what the card must say of them all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

from silo_node.cohort.format import SampleRecord, aligned
from silo_node.intake.messages import Outcome
from silo_node.intake.reasons import Reason

WITHHELD = {
    "identifier": "the {} text holds an identifier of the same file, so it was left out: see who fills it in so",
    "no code": "the {} is no DICOM code (A to Z, 0 to 9, blank, underscore; 16 at most), so it was left out",
}


class Curation:
    """Takes outcomes in file order; the first of several duplicates is kept."""

    def __init__(self, earlier: Iterable[Outcome] = ()) -> None:
        self.records: list[SampleRecord] = []
        self.reasons: list[str | None] = []
        self.rows: list[int | None] = []
        self._withheld: Counter[tuple[str, str]] = Counter()
        self._instances: set[str] = set()
        self._pixels: set[tuple[object, ...]] = set()
        self._patients_of: dict[str, set[str]] = {}
        self._end = 0
        for outcome in earlier:
            self.remember(outcome)

    def take(self, outcome: Outcome) -> Outcome:
        """`outcome` as it will be kept: perhaps as a duplicate, its offsets counted from the store's beginning."""
        if outcome.reason is None:
            outcome = self._placed(outcome)
        self.remember(outcome)
        return outcome

    def remember(self, outcome: Outcome) -> None:
        """Count an outcome that is final already."""
        self.reasons.append(outcome.reason)
        self.rows.append(outcome.row)
        if outcome.reason is not None:
            return
        self.records.extend(outcome.records)
        for item in outcome.withheld.items():
            self._withheld[item] += len(outcome.records)
        self._end = outcome.records[-1].offset + outcome.records[-1].nbytes
        self._pixels.add(_picture(outcome))
        if outcome.instance is not None:
            self._instances.add(outcome.instance)
        if outcome.person is not None:
            self._patients_of.setdefault(outcome.person, set()).add(outcome.records[0].patient)

    def warnings(self) -> list[str]:
        """What the records themselves do not show any more."""
        said = [
            f"{count} image{'s' if count > 1 else ''}: {WITHHELD[why].format(attribute)}."
            for (attribute, why), count in sorted(self._withheld.items())
        ]
        if several := sum(len(patients) > 1 for patients in self._patients_of.values()):
            said.append(f"{several} patient numbers occur under more than one issuer, and count as different patients.")
        return said

    def rejected(self) -> dict[str, int]:
        """Files by reason, the most frequent first."""
        return dict(Counter(reason for reason in self.reasons if reason is not None).most_common())

    def _placed(self, outcome: Outcome) -> Outcome:
        reason = None
        if not outcome.records:
            reason = Reason.DECODE_FAILED
        elif outcome.instance in self._instances:
            reason = Reason.DUPLICATE_INSTANCE
        elif _picture(outcome) in self._pixels:
            reason = Reason.DUPLICATE_PIXELS
        if reason is not None:
            return Outcome(number=outcome.number, row=outcome.row, reason=reason.value)
        base = aligned(self._end)
        records = [msgspec.structs.replace(record, offset=base + record.offset) for record in outcome.records]
        return msgspec.structs.replace(outcome, records=records)


def _picture(outcome: Outcome) -> tuple[object, ...]:
    """Equal for files whose samples look the same."""
    return (outcome.sha256, *((record.shape, record.dtype) for record in outcome.records))
