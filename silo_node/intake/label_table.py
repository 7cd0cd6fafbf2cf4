"""The labels of a cohort as a table that finds the line about a file."""

from __future__ import annotations

import unicodedata
from typing import Literal

import msgspec

from silo_node.intake.reasons import Reason, Rejection

KEYS = ("SOPInstanceUID", "file", "StudyInstanceUID", "AccessionNumber", "PatientID")
"""Key columns, the most specific first: a line is filed under the first of them that it fills in."""
MUST_AGREE = ("SOPInstanceUID", "StudyInstanceUID", "AccessionNumber", "PatientID")


class LabelRow(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the labels CSV. `keys` are identifiers in clear: they stay inside the import."""

    line: int
    keys: dict[str, str]
    labels: dict[str, str]
    fold: str | None = None
    sex: Literal["M", "F", "O"] | None = None
    age: int | None = None
    manufacturer: str | None = None
    model: str | None = None
    modality: str | None = None


class LabelTable(msgspec.Struct, frozen=True):
    """All lines, where each key leads, and which key columns the header has."""

    rows: list[LabelRow]
    index: dict[str, dict[str, int]]
    columns: list[str]
    keys: list[str]

    def find(self, identity: dict[str, str]) -> int:
        """The row about a file with these identifiers (absent ones left out). Rejection NO_LABEL if there is none."""
        number = self.lookup(identity)
        if number is None:
            raise Rejection(Reason.NO_LABEL)
        return number

    def lookup(self, identity: dict[str, str]) -> int | None:
        """The same; None if there is none."""
        for key in KEYS:
            value = identity.get(key)
            number = self.index.get(key, {}).get(same_text(value)) if value else None
            if number is not None:
                return number
        return None

    def check(self, number: int, identity: dict[str, str]) -> LabelRow:
        """That row. Rejection MISMATCH if it contradicts the file, LABEL_EMPTY if it says nothing."""
        row = self.rows[number]
        for key in MUST_AGREE:
            ours, theirs = identity.get(key), row.keys.get(key)
            if ours and theirs and same_text(ours) != same_text(theirs):
                raise Rejection(Reason.MISMATCH)
        if not row.labels:
            raise Rejection(Reason.LABEL_EMPTY)
        return row


def same_text(value: str) -> str:
    """One spelling for one text: file names arrive decomposed from some systems, composed from others."""
    return unicodedata.normalize("NFC", value)
