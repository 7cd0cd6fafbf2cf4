"""One image of the cohort, described; its pixels stay in the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sample:
    """One image: what is known about it besides its pixels.

    `patient` is a keyed pseudonym, `age` is in whole years (everyone above 89 is 90), `sex` is "M", "F" or "O",
    `shape` is channels (1 or 3), rows, columns at the native resolution. An attribute nobody gave is None; a label
    nobody gave is absent from `labels`.
    """

    index: int
    patient: str
    labels: Mapping[str, str]
    fold: str | None
    sex: str | None
    age: int | None
    manufacturer: str | None
    model: str | None
    modality: str | None
    shape: tuple[int, int, int]
