"""What became of files that are no samples, and of label lines that found no file: the rows of rejections.csv."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from silo_node.cohort.sealing import Rejection
from silo_node.intake.curation import Curation
from silo_node.intake.label_table import LabelRow, LabelTable, same_text
from silo_node.intake.listing import Found
from silo_node.intake.reasons import REASONS, Reason


def lines_without_file(files: Sequence[Found], curation: Curation, table: LabelTable) -> list[int]:
    """Lines of the labels to which no file belongs. A file that was refused before its header was read is known by name."""
    unread = {
        same_text(file.name)
        for file, reason, row in zip(files, curation.reasons, curation.rows, strict=True)
        if row is None and reason not in (None, Reason.NO_LABEL)
    }
    found = {row for row in curation.rows if row is not None}
    return [
        row.line
        for number, row in enumerate(table.rows)
        if number not in found and same_text(row.keys.get("file", "")) not in unread
    ]


def rejections(files: Sequence[Found], curation: Curation, table: LabelTable) -> Iterator[Rejection]:
    """One row for each refused file, then one for each line without a file."""
    for file, value, number in zip(files, curation.reasons, curation.rows, strict=True):
        if value is not None:
            row = None if number is None else table.rows[number]
            yield file.name, value, _advice(REASONS[value], row, table)
    for line in lines_without_file(files, curation, table):
        reason = Reason.LINE_WITHOUT_FILE
        yield f"line {line} of the labels", reason.value, f"{reason.sentence} {reason.hint}"


def _advice(reason: Reason, row: LabelRow | None, table: LabelTable) -> str:
    sentence, hint = reason.sentence, reason.hint
    if row is not None and reason is Reason.NO_PATIENT and "PatientID" in table.keys:
        sentence, hint = f"Line {row.line} of the labels: PatientID is empty.", "Fill it in."
    elif row is not None and reason in (Reason.LABEL_EMPTY, Reason.MISMATCH):
        sentence = f"Line {row.line} of the labels: {sentence[0].lower()}{sentence[1:]}"
    return f"{sentence} {hint}"
