"""What makes a folder a whole, untouched cohort store; every failure says what to do."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Sequence
from pathlib import Path

import msgspec

from protocol.errors import StoreCorruptError, StoreError, StoreVersionError
from silo_node.cohort import format as fmt
from silo_node.cohort.sealing import manifest_digest

RESTORE = "Restore it from a backup, or delete the folder and run `fedward silo import` again."


class _Header(msgspec.Struct):
    format: str = ""
    version: int = 0


def read_manifest(path: Path) -> fmt.Manifest:
    """The manifest of the store at `path`, its own digest checked."""
    try:
        data = (path / fmt.MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise _absent(path) from None
    except OSError as error:
        raise StoreError(f"The store at {path} cannot be read ({error.strerror}). Check its permissions.") from error
    try:
        header = msgspec.json.decode(data, type=_Header)
        if header.format != fmt.FORMAT:
            raise StoreError(f"{path} is not a fedward cohort store. Give the folder that `fedward silo import` made.")
        if header.version != fmt.VERSION:
            raise StoreVersionError(
                f"{path} has format version {header.version}; this fedward reads version {fmt.VERSION}. "
                "Use the fedward that wrote it, or import the images again with this one."
            )
        manifest = msgspec.json.decode(data, type=fmt.Manifest)
    except msgspec.DecodeError as error:
        raise StoreCorruptError(f"{path / fmt.MANIFEST} is damaged ({error}). {RESTORE}") from error
    if manifest.digest != manifest_digest(manifest) or set(manifest.files) != set(fmt.DATA_FILES):
        raise StoreCorruptError(f"{path / fmt.MANIFEST} was changed after it was written. {RESTORE}")
    return manifest


def _absent(path: Path) -> StoreError:
    if path.is_dir() and any((path / name).exists() for name in fmt.DATA_FILES):
        return StoreCorruptError(f"{path / fmt.MANIFEST} is missing. {RESTORE}")
    if path.name and path.with_name(path.name + ".partial").is_dir():
        return StoreError(f"The import to {path} has not finished. Run the same `fedward silo import` again to resume.")
    return StoreError(f"There is no cohort store at {path}. Make one with `fedward silo import`.")


def read_bytes(path: Path, manifest: fmt.Manifest, name: str, *, verify: bool) -> bytes:
    """The bytes of a small file of the store."""
    with map_file(path, manifest, name, verify=verify) as mapped:
        return mapped[:]


def map_file(path: Path, manifest: fmt.Manifest, name: str, *, verify: bool) -> mmap.mmap:
    """A read-only map of one file of the store: its size is always compared, its digest if `verify`."""
    entry = manifest.files[name]
    try:
        with (path / name).open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise StoreCorruptError(f"{path / name} is missing. {RESTORE}") from None
    except ValueError:
        raise StoreCorruptError(f"{path / name} is empty. {RESTORE}") from None
    except OSError as error:
        raise StoreError(f"{path / name} cannot be read ({error.strerror}). Check its permissions.") from error
    if len(mapped) != entry.bytes:
        raise StoreCorruptError(f"{path / name} has {len(mapped)} bytes instead of {entry.bytes}. {RESTORE}")
    if verify and hashlib.sha256(mapped).hexdigest() != entry.sha256:
        raise StoreCorruptError(f"{path / name} was changed after it was written: its digest differs. {RESTORE}")
    return mapped


def check_records(path: Path, manifest: fmt.Manifest, records: Sequence[fmt.SampleRecord]) -> None:
    """StoreCorruptError unless every record points to pixels of its own inside pixels.bin."""
    end = 0
    for record in records:
        sound = record.shape[0] in (1, 3) and min(record.shape) > 0 and record.offset == fmt.aligned(end)
        end = record.offset + record.nbytes
        if not sound:
            raise StoreCorruptError(f"{path / fmt.SAMPLES} does not fit its pixels. {RESTORE}")
    counts = (len(records), len({record.patient for record in records}), end)
    if counts != (manifest.n_samples, manifest.n_patients, manifest.files[fmt.PIXELS].bytes):
        raise StoreCorruptError(f"{path / fmt.SAMPLES} does not fit the manifest. {RESTORE}")
