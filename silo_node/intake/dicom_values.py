"""Read single values out of a DICOM dataset that may be wrong in any place."""

from __future__ import annotations

import math
import re
from datetime import date
from typing import Any, Literal

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from silo_node.intake.attribute_privacy import LONGEST, one_line
from silo_node.intake.labels import OLDEST


def value(dataset: Dataset, keyword: str) -> Any:
    """The value of an element, its first one if it has several; None if absent, empty or unreadable."""
    try:
        found = dataset.get(keyword)
    except Exception:  # a damaged element must not cost the rest of the header
        return None
    if isinstance(found, MultiValue | list):
        found = found[0] if found else None
    return None if found is None or found == "" else found


def text(dataset: Dataset, keyword: str) -> str | None:
    """The element as one clean line of at most 64 characters."""
    whole = line(dataset, keyword)
    return whole[:LONGEST] if whole else None


def line(dataset: Dataset, keyword: str) -> str | None:
    """The element as one clean line, whole."""
    found = value(dataset, keyword)
    return (one_line(str(found)) or None) if found is not None else None


def identifier(dataset: Dataset, keyword: str) -> str:
    """The element as an identifier, whole; "" if absent."""
    try:
        found = dataset.get(keyword)
    except Exception:  # as above
        return ""
    if isinstance(found, MultiValue | list):  # a backslash is legal nowhere, yet some patient numbers have one
        found = "\\".join(map(str, found))
    return "" if found is None else str(found).strip(" \0")


def number(dataset: Dataset, keyword: str) -> float | None:
    """The element as a finite number."""
    try:
        found = float(value(dataset, keyword))
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def integer(dataset: Dataset, keyword: str) -> int | None:
    """The element as a whole number."""
    found = number(dataset, keyword)
    return int(found) if found is not None and found == int(found) else None


def pair(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    """The element as two positive numbers."""
    try:
        first, second = (float(part) for part in dataset.get(keyword))
    except Exception:  # absent, of another length, or not numbers
        return None
    return (first, second) if 0 < first < math.inf and 0 < second < math.inf else None


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """All items of a sequence; none if it is absent or damaged."""
    try:
        found = dataset.get(keyword)
        return list(found) if isinstance(found, Sequence) else []
    except Exception:  # as above
        return []


def item(dataset: Dataset, keyword: str) -> Dataset | None:
    """The first item of a sequence."""
    return next(iter(items(dataset, keyword)), None)


def sex(dataset: Dataset) -> Literal["M", "F", "O"] | None:
    """PatientSex, if it is one of the three values DICOM knows."""
    match text(dataset, "PatientSex"):
        case "M":
            return "M"
        case "F":
            return "F"
        case "O":
            return "O"
        case _:
            return None


def age(dataset: Dataset) -> int | None:
    """Whole years at the study: PatientAge, else study date minus birth date; everyone above 89 is 90."""
    years = _stated_age(text(dataset, "PatientAge") or "")
    if years is None:
        born, seen = day(dataset, "PatientBirthDate"), day(dataset, "StudyDate")
        if born is not None and seen is not None:
            years = seen.year - born.year - ((seen.month, seen.day) < (born.month, born.day))
    return min(years, OLDEST) if years is not None and 0 <= years <= 150 else None


def _stated_age(stated: str) -> int | None:
    parts = re.fullmatch(r"(\d{1,3})([DWMY])", stated)
    if parts is None:
        return None
    count = int(parts[1])
    match parts[2]:
        case "Y":
            return count
        case "M":
            return count // 12
        case "W":
            return count * 7 // 365
        case _:
            return count // 365


def day(dataset: Dataset, keyword: str) -> date | None:
    """The element as a date."""
    digits = (text(dataset, keyword) or "").replace(".", "")  # ACR-NEMA wrote 1993.08.22
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:8])) if len(digits) == 8 else None
    except ValueError:
        return None
