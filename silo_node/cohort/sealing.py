"""Turn a folder that holds pixels.bin into a complete store: write every other file, then the manifest last."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from protocol.canonical import digest_json
from silo_node.cohort import format as fmt

Rejection = tuple[str, str, str]
"""(file relative to the source, reason, what to do): one line of rejections.csv."""
FORMULA = re.compile(r"\s*[=+\-@＝＋－＠]|[\t\r\n']")
"""Spreadsheets run a cell that begins so; the apostrophe is here because it is what we put before the others."""


def manifest_digest(manifest: fmt.Manifest) -> str:
    """Digest of the manifest without its own `digest` field."""
    fields: dict[str, Any] = msgspec.to_builtins(manifest)
    del fields["digest"]
    return digest_json(fields)


def rejections_csv(rejections: Iterable[Rejection]) -> bytes:
    """The rejection report as UTF-8 CSV; a name that is not valid UTF-8 is written with backslash escapes.

    Every cell is quoted, for spreadsheets that split at semicolons too, and none is a formula.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(["file", "reason", "what_to_do"])
    writer.writerows((harmless(file), reason, advice) for file, reason, advice in rejections)
    return text.getvalue().encode("utf-8", errors="backslashreplace")


def harmless(cell: str) -> str:
    """`cell` as a spreadsheet shows it and does not run it; without a leading apostrophe it is what it was."""
    return f"'{cell}" if FORMULA.match(cell) else cell


def seal(
    folder: Path,
    records: Sequence[fmt.SampleRecord],
    pixels: fmt.FileEntry,
    *,
    values: fmt.Values,
    card: Mapping[str, Any],
    rejections: Iterable[Rejection] = (),
) -> fmt.Manifest:
    """Write every file but pixels.bin into `folder`, durably, the manifest last."""
    encoder = msgspec.json.Encoder(order="deterministic")
    contents = {
        fmt.SAMPLES: b"".join(encoder.encode(record) + b"\n" for record in records),
        fmt.CARD: msgspec.json.format(encoder.encode(card), indent=2) + b"\n",
        fmt.REJECTIONS: rejections_csv(rejections),
    }
    files = {name: fmt.FileEntry(len(data), hashlib.sha256(data).hexdigest()) for name, data in contents.items()}
    files[fmt.PIXELS] = pixels
    manifest = fmt.Manifest(
        format=fmt.FORMAT,
        version=fmt.VERSION,
        values=values,
        n_samples=len(records),
        n_patients=len({record.patient for record in records}),
        files=files,
        digest="",
    )
    manifest = msgspec.structs.replace(manifest, digest=manifest_digest(manifest))
    for name, data in contents.items():
        write_durably(folder / name, data)
    write_durably(folder / fmt.MANIFEST, msgspec.json.format(encoder.encode(manifest), indent=2) + b"\n")
    return manifest


def write_durably(path: Path, data: bytes) -> None:
    """Write `data` with mode 0600 and wait until the disk has it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def publish(folder: Path, target: Path) -> None:
    """Rename the sealed `folder` to `target` in one step, so that nobody ever sees half a store."""
    sync_folder(folder)
    folder.rename(target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in `folder`."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
