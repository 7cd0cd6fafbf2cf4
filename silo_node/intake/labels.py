"""Read the hospital's labels CSV; every complaint names its line and says what to change."""

from __future__ import annotations

import codecs
import csv
import io
from pathlib import Path
from typing import Any, Literal

from protocol.errors import LabelsError
from silo_node.intake.label_privacy import check_columns, check_values
from silo_node.intake.label_table import KEYS, LabelRow, LabelTable, same_text

ATTRIBUTES = ("fold", "sex", "age", "manufacturer", "model", "modality")
TEXTS = ("fold", "manufacturer", "model", "modality")
"""Attributes that are free text, and so could hold anything."""
SEXES: dict[str, Literal["M", "F", "O"]] = {
    "m": "M",
    "male": "M",
    "f": "F",
    "female": "F",
    "o": "O",
    "other": "O",
}
OLDEST = 90
"""Ages above 89 single people out; they are all stored as 90."""


def read_labels(path: Path) -> LabelTable:
    """The labels at `path`. LabelsError says what is wrong, where, and what to do."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LabelsError(f"The labels {path} cannot be read ({error.strerror}). Give a CSV file.") from error
    return parse_labels(data)


def parse_labels(data: bytes) -> LabelTable:
    """The labels in the bytes of a CSV file: comma, semicolon or tab; UTF-8, UTF-16 with a mark, or Windows-1252."""
    header, lines = _split(_decode(data))
    keys = [name for name in KEYS if name in header]
    columns = [name for name in header if name not in KEYS and name not in ATTRIBUTES]
    check_columns(header, keys, columns, known=(*KEYS, *ATTRIBUTES))
    rows: list[LabelRow] = []
    index: dict[str, dict[str, int]] = {}
    for line, cells in lines:
        if len(cells) != len(header):
            raise LabelsError(f"Line {line} of the labels has {len(cells)} cells, the header has {len(header)}.")
        row = _row(line, {name: cell.strip() for name, cell in zip(header, cells, strict=True)}, columns)
        _file(row, rows, index)
    if not rows:
        raise LabelsError("The labels have a header but no line. Add one line for each image.")
    check_values(rows, columns, TEXTS)
    return LabelTable(rows, index, columns, keys)


def _decode(data: bytes) -> str:
    marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encodings = ["utf-16"] if marked else ["utf-8-sig", "cp1252"]
    for encoding in encodings:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise LabelsError("The labels are neither UTF-8 nor Windows-1252 text. Save them as 'CSV UTF-8'.")


def _split(text: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Header and numbered lines, with the delimiter under which the header shows a key column."""
    for delimiter in ",;\t":
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        try:
            header = [cell.strip() for cell in next(reader, [])]
            if any(name in KEYS for name in header):
                return header, [(reader.line_num, cells) for cells in reader if any(cells)]
        except csv.Error as error:
            raise LabelsError(f"Line {reader.line_num} of the labels is not CSV ({error}).") from error
    first = text.splitlines()[0][:200] if text.strip() else ""
    raise LabelsError(
        f"The labels need a key column: one of {', '.join(KEYS)} (spelled exactly so), separated by commas, semicolons "
        f"or tabs. Their first line has {len(first)} characters and none of them."
    )


def _row(line: int, cells: dict[str, str], columns: list[str]) -> LabelRow:
    def text(name: str) -> str | None:
        return cells.get(name) or None

    keys = {name: cells[name] for name in KEYS if cells.get(name)}
    if "file" in keys:
        keys["file"] = keys["file"].replace("\\", "/").removeprefix("./")
    if not keys:
        raise LabelsError(f"Line {line} of the labels names no image: fill in one of its key columns.")
    return LabelRow(
        line=line,
        keys=keys,
        labels={name: cells[name] for name in columns if cells[name]},
        fold=text("fold"),
        sex=_sex(line, text("sex")),
        age=_age(line, text("age")),
        manufacturer=text("manufacturer"),
        model=text("model"),
        modality=text("modality"),
    )


def _sex(line: int, value: str | None) -> Literal["M", "F", "O"] | None:
    if value is None:
        return None
    if value.lower() not in SEXES:
        raise LabelsError(f"Line {line} of the labels: sex must be M, F, O or empty.")
    return SEXES[value.lower()]


def _age(line: int, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        years = float(value)
    except ValueError:
        years = -1.0
    if not 0 <= years <= 150:
        raise LabelsError(f"Line {line} of the labels: age must be years from 0 to 150, or empty.")
    return min(int(years), OLDEST)


def _file(row: LabelRow, rows: list[LabelRow], index: dict[str, dict[str, int]]) -> None:
    """Put `row` under its most specific key; the same key again must say the same."""
    key = next(name for name in KEYS if name in row.keys)
    place = index.setdefault(key, {})
    known = place.setdefault(same_text(row.keys[key]), len(rows))
    if known == len(rows):
        rows.append(row)
    elif _said(rows[known]) != _said(row):
        raise LabelsError(
            f"Lines {rows[known].line} and {row.line} of the labels have the same {key} but differ. Keep one of them."
        )


def _said(row: LabelRow) -> tuple[Any, ...]:
    return (row.labels, row.fold, row.sex, row.age, row.manufacturer, row.model, row.modality, row.keys)
