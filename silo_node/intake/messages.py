"""What the import and its decoder processes say to each other: typed, and never pickled.

A decoder reads hostile bytes with C code; if it were ever taken over, these structs are all it could send back.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from silo_node.cohort.format import SampleRecord, Values
from silo_node.intake.attribute_privacy import Attribute, Why
from silo_node.intake.label_table import LabelTable

READY = b"ready"
ALIVE = b"alive"


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a decoder needs to know once. Sent over its private pipe: it holds the key and identifiers."""

    source: bytes
    key: bytes
    values: Values
    decoded_bytes: int
    seconds: float
    labels: LabelTable


class Task(msgspec.Struct, frozen=True, array_like=True):
    """One file to look at; `name` is its path below the source as the file system spells it."""

    number: int
    name: bytes


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one file: a reason, or records whose pixels follow as one message of `size` bytes.

    `row` is the label row that was found; offsets of the records count from the first byte of those pixels.
    `person` stands for the PatientID alone, whoever issued it. `withheld` says which attributes were left out, and why.
    """

    number: int
    reason: str | None = None
    row: int | None = None
    instance: str | None = None
    person: str | None = None
    records: list[SampleRecord] = []
    withheld: dict[Attribute, Why] = {}
    size: int = 0
    sha256: str = ""


Match: TypeAlias = int
"""Said before a file's pixels are decoded: the label row it belongs to, should the decoder not live to say more."""
Answer: TypeAlias = tuple[Outcome, bytes | bytearray]
"""An outcome and the pixels of its records (none for a rejected file)."""
