"""Maker, model, modality and units go into the store as the file or the CSV has them, so none may name the patient."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal, TypeAlias

LONGEST = 64
"""Characters of an attribute that are kept; DICOM's own limit for such texts."""
SHORTEST = 3
"""Identifiers of fewer letters and digits occur in half of all texts by chance; they are not looked for."""
SHORTEST_ELSEWHERE = 2
"""The same for names that are not written in Latin letters: most family names in Chinese characters have one or two."""
CODE = re.compile(r"[A-Z0-9_ ]{1,16}")
"""A DICOM code string (PS3.5, VR CS)."""
UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "å": "aa", "ø": "oe", "æ": "ae"})

Attribute: TypeAlias = Literal["manufacturer", "model", "modality", "units"]
Why: TypeAlias = Literal["identifier", "no code"]
ATTRIBUTES: tuple[Attribute, ...] = ("manufacturer", "model", "modality", "units")


@dataclass(frozen=True, slots=True)
class Identifiers:
    """What one file says about people and about itself. It stays in the decoder; only comparisons leave it."""

    names: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    born: date | None = None

    def also(self, numbers: Iterable[str]) -> Identifiers:
        """These and further numbers."""
        return Identifiers(self.names, (*self.numbers, *numbers), self.born)

    def occur_in(self, text: str) -> bool:
        """Whether `text` holds a part of a name, a whole number or the birth date, however punctuated and accented."""
        spaced = _spellings(text)
        squeezed = {spelling.replace(" ", "") for spelling in spaced}
        parts = {part for name in self.names for spelling in _spellings(name) for part in spelling.split()}
        wholes = {spelling.replace(" ", "") for number in self.numbers for spelling in _spellings(number)}
        if self.born is not None:
            wholes |= _dates(self.born)
        return any(_long_enough(part) and part in form for part in parts for form in spaced) or any(
            len(whole) >= SHORTEST and whole in form for whole in wholes for form in squeezed
        )


def vet(stated: Mapping[Attribute, str | None], known: Identifiers) -> tuple[dict[Attribute, str | None], dict[Attribute, Why]]:
    """The attributes as they may be stored, and why some of them may not."""
    kept: dict[Attribute, str | None] = {}
    withheld: dict[Attribute, Why] = {}
    for attribute, text in stated.items():
        whole = one_line(text or "")
        # Looked for before the text is cut: half an identifier is one as well.
        if whole and known.occur_in(whole):
            withheld[attribute] = "identifier"
        elif whole and attribute == "modality" and not CODE.fullmatch(whole):
            withheld[attribute] = "no code"
        kept[attribute] = None if attribute in withheld else whole[:LONGEST].rstrip() or None
    return kept, withheld


def one_line(text: str) -> str:
    """Printable characters only, single blanks between them."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _spellings(text: str) -> set[str]:
    """Lower case without accents, everything but letters and digits a blank; umlauts both as u and as ue."""
    composed = unicodedata.normalize("NFKC", text)
    return {_plain(composed), _plain(composed.translate(UMLAUTS))}


def _plain(text: str) -> str:
    letters = (c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    return " ".join("".join(c if c.isalnum() else " " for c in letters).split())


def _long_enough(part: str) -> bool:
    return len(part) >= (SHORTEST if part.isascii() else SHORTEST_ELSEWHERE)


def _dates(day: date) -> set[str]:
    year, month, number = f"{day.year:04d}", f"{day.month:02d}", f"{day.day:02d}"
    padded = {year + month + number, number + month + year, month + number + year}
    short = {f"{day.day}{day.month}{year}", f"{day.month}{day.day}{year}", f"{year}{day.month}{day.day}"}
    return padded | short
