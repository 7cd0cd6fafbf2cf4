"""Checks on source and labels together, before any file is decoded."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from protocol.errors import InputError, LabelsError
from silo_node.cohort.writer import refuse_existing
from silo_node.intake.label_table import LabelTable
from silo_node.intake.listing import Found
from silo_node.intake.reasons import Rejection
from silo_node.intake.sniffing import HEAD, Kind, kind_of

LOOK_AT = 64


def check_places(source: Path, store: Path) -> None:
    """StoreExistsError if the store is there, InputError if it would lie among the files to import."""
    refuse_existing(store)
    if store.resolve().is_relative_to(source.resolve()):
        raise InputError("The store cannot be inside the folder to import. Choose another --store.")


def check_picture_keys(source: Path, files: Sequence[Found], table: LabelTable) -> None:
    """LabelsError if the first files are pictures and the labels cannot say which picture is whose."""
    kinds = set()
    for file in [file for file in files if file.reason is None][:LOOK_AT]:
        with suppress(OSError, Rejection), (source / file.name).open("rb") as opened:
            kinds.add(kind_of(opened.read(HEAD)))
    if kinds != {Kind.PICTURE}:
        return
    missing = [key for key in ("file", "PatientID") if key not in table.keys]
    if missing:
        raise LabelsError(
            f"The folder holds pictures, which do not say whose they are. Add the column {' and '.join(missing)} to the "
            "labels: `file` is the path below the folder (a/b.png), `PatientID` tells which pictures are of one person."
        )
    for key in ("file", "PatientID"):
        if not any(key in row.keys for row in table.rows):
            raise LabelsError(
                f"Line {table.rows[0].line} of the labels: {key} is empty, as in every other line. The folder holds "
                "pictures, which do not say whose they are: fill it in."
            )
