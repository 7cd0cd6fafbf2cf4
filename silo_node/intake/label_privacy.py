"""Columns go into the store as they are, so none of them may carry an identifier."""

from __future__ import annotations

from collections.abc import Sequence

from protocol.errors import LabelsError
from silo_node.intake.label_table import KEYS, LabelRow

# fmt: off
IDENTIFYING = frozenset({
    "patientname", "name", "firstname", "lastname", "surname", "givenname", "birthdate", "dateofbirth",
    "dob", "patientbirthdate", "mrn", "ssn", "medicalrecordnumber", "patientaddress", "address",
    "phone", "telephone", "email", "otherpatientids", "studyid", "studydate", "seriesinstanceuid",
    "frameofreferenceuid", "mediastoragesopinstanceuid", "uid", "filename", "path", "filepath",
})
# fmt: on
FEW = 20
"""Up to this many distinct values, a column is a class however small the cohort."""
NEARLY = 0.9


def check_columns(header: Sequence[str], keys: Sequence[str], columns: Sequence[str], known: Sequence[str]) -> None:
    """LabelsError if the header is ambiguous, has no label, or names a column that identifies people."""
    twice = sorted({name or "(empty)" for name in header if header.count(name) > 1 or not name})
    if twice:
        raise LabelsError(f"Every column of the labels needs one name of its own; look at: {', '.join(twice)}.")
    spelling = {_plain(name): name for name in known}
    for name in columns:
        if _plain(name) in spelling:
            raise LabelsError(f"The labels have a column {name!r}: spell it {spelling[_plain(name)]!r}.")
        if _plain(name) in IDENTIFYING:
            raise LabelsError(f"The column {name!r} of the labels identifies people. Remove it and import again.")
    if not columns:
        raise LabelsError(f"The labels have only {', '.join(keys)}: add at least one column with labels.")


def check_values(rows: Sequence[LabelRow], columns: Sequence[str], attributes: Sequence[str]) -> None:
    """LabelsError if a column looks like an identifier: a key's value, or a text that (nearly) nobody shares."""
    identifiers = {value for row in rows for key, value in row.keys.items() if key in KEYS and len(value) > 3}
    patients = len({row.keys.get("PatientID") for row in rows})
    cells: dict[str, list[str | None]] = {name: [row.labels.get(name) for row in rows] for name in columns}
    cells |= {name: [getattr(row, name) for row in rows] for name in attributes}
    for name, column in cells.items():
        values = [value for value in column if value is not None]
        distinct = set(values)
        leaked = next((row for row, value in zip(rows, column, strict=True) if value in identifiers), None)
        if leaked is not None and len(distinct) > 2:
            raise LabelsError(
                f"Line {leaked.line} of the labels: the column {name!r} holds the identifier of an image or a patient. "
                "Remove the column and import again."
            )
        people = patients if patients > FEW else len(values)
        unique = len(distinct) > FEW and len(distinct) >= NEARLY * min(len(values), people)
        if unique and not all(map(_is_measurement, distinct)):
            raise LabelsError(
                f"The column {name!r} of the labels has {len(distinct)} different values for {people} patients or "
                "images, as an identifier would. Remove it, or group its values into classes."
            )


def _plain(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())


def _is_measurement(value: str) -> bool:
    """A number of fewer than six digits before the point; longer whole numbers look like record numbers."""
    try:
        return abs(float(value)) < 100_000
    except ValueError:
        return False
