"""What DICOM files and pictures have in common on their way into the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from silo_node.cohort.format import ImageArray, Values
from silo_node.intake.attribute_privacy import Identifiers


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may cost: decoded bytes, and seconds for one frame."""

    decoded_bytes: int = 1 << 30
    seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Facts:
    """What the file says besides its pixels; None where it says nothing usable. Texts are whole and not vetted yet."""

    encoding: str
    sex: Literal["M", "F", "O"] | None = None
    age: int | None = None
    manufacturer: str | None = None
    model: str | None = None
    modality: str | None = None
    text_free: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One image (C, H, W), quantised as it will be stored; `number` counts from 0 in files of several frames."""

    pixels: ImageArray
    photometric: str
    number: int | None = None
    range: str | None = None
    units: str | None = None
    spacing: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file whose header has been read. `identity` has the key columns of the labels it can be found by.

    `issuer` is who gave the PatientID; `identifiers` is all that must not turn up in a text. `frames(values, limits)`
    decodes; it raises Rejection.
    """

    identity: dict[str, str]
    issuer: str
    facts: Facts
    frames: Callable[[Values, Limits], Iterator[Frame]] = field(repr=False)
    identifiers: Identifiers = field(default=Identifiers(), repr=False)
