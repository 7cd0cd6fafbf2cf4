"""What PySyft brings, as the rest of fedward knows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PublishedCohort:
    """A cohort as a hospital shows it: the name, one line about it, and the files of its public mock."""

    hospital: str
    name: str
    summary: str
    mock: tuple[Path, ...]


@dataclass(frozen=True)
class Submission:
    """A plan that a researcher handed over: its files, read once, so that what is looked at is what is used."""

    name: str
    researcher: str
    files: Mapping[str, bytes]
    status: str


@dataclass(frozen=True)
class Answer:
    """What became of a plan at one hospital, as PySyft tells it; what counts there is the hospital's own decisions."""

    hospital: str
    name: str
    status: str
    reason: str
    results: tuple[Path, ...]
