"""Invented people and stable identifiers, so that de-identification has something to remove."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from fedward.demo.phantoms.cohort import Cohort

_FAMILY = (
    "Abernathy", "Bergström", "Castellanos", "Dvořák", "Eriksen", "Fitzgerald", "Grünwald", "Haddad", "Ivanova", "Jørgensen",
    "Kowalski", "Lindqvist", "Moreau", "Nakamura", "Okafor", "Petrov", "Quintana", "Rossi", "Süleyman", "Thackeray",
    "Uddin", "Vasquez", "Whitlock", "Yamada", "Zieliński",
)  # fmt: skip
_WOMEN = ("Adele", "Brigitta", "Chiara", "Delphine", "Esme", "Freya", "Giulia", "Hanna", "Ines", "Judith", "Keiko", "Leïla")
_MEN = ("Anton", "Bruno", "Cyril", "Dmitri", "Emeka", "Felix", "Gustav", "Hiro", "Ivo", "Jonas", "Karim", "Léon")


@dataclass(frozen=True)
class Person:
    """What a hospital knows of a patient."""

    number: str  # PatientID
    name: str
    sex: str
    birth: date
    first_visit: date


def uid(*parts: object) -> str:
    """Return a UID of the 2.25 scheme that depends on these parts alone: the same seed gives the same files."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def people(rng: np.random.Generator, cohort: Cohort, prefix: str) -> tuple[Person, ...]:
    """Invent a person for every patient of the cohort."""
    numbers = rng.choice(900_000, len(cohort.female), replace=False) + 100_000
    return tuple(
        _person(rng, f"{prefix}-{number}", bool(female), int(age))
        for number, female, age in zip(numbers, cohort.female, cohort.age, strict=True)
    )


def _person(rng: np.random.Generator, number: str, female: bool, age: int) -> Person:
    given = rng.choice(_WOMEN if female else _MEN)
    visit = date(2019, 1, 7) + timedelta(days=int(rng.integers(0, 4 * 365)))
    birth = visit - timedelta(days=int(age * 365.25 + rng.integers(1, 365)))
    return Person(number, f"{rng.choice(_FAMILY)}^{given}", "F" if female else "M", birth, visit)
