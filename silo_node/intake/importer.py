"""`import_folder`: a folder of images and a labels CSV become a cohort store."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec

from protocol.errors import InputError, SourceError
from silo_node.cohort import format as fmt
from silo_node.cohort.card import data_card
from silo_node.cohort.sealing import Rejection, publish, rejections_csv, seal, write_durably
from silo_node.cohort.writer import refuse_existing
from silo_node.intake.curation import Curation
from silo_node.intake.journal import Journal, locked
from silo_node.intake.labels import read_labels
from silo_node.intake.listing import Found, list_files, listing_digest
from silo_node.intake.messages import Context, Outcome, Task
from silo_node.intake.pool import WORKER, Pool
from silo_node.intake.preconditions import check_picture_keys
from silo_node.intake.pseudonym import key_check, key_path, load_or_create_key
from silo_node.intake.reasons import REASONS

PIPELINE = 1
"""Raised whenever the same files would become other pixels: an unfinished import of an older one begins again."""
SMALL = 200
"""Up to this many files one decoder process is quicker than starting several."""
FLUSH_EVERY = 64


@dataclass(frozen=True, slots=True)
class Settings:
    """How hard to try; the defaults suit a hospital's workstation. `worker` is the module that decodes."""

    decoded_bytes: int = 1 << 30
    seconds: float = 60.0
    worker: str = WORKER


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What an import did. `rejected` counts files by reason; `resumed` files were kept from a run that did not end."""

    n_files: int
    n_samples: int
    n_patients: int
    rejected: dict[str, int]
    labels_without_file: int
    store: Path
    report: Path
    card: Path
    digest: str
    resumed: int


def import_folder(
    source: Path,
    labels: Path,
    store: Path,
    *,
    key: Path | None = None,
    values: fmt.Values = "display",
    on_progress: Callable[[int, int], None] | None = None,
    on_notice: Callable[[str], None] | None = None,
    workers: int = 0,
    settings: Settings | None = None,
) -> ImportSummary:
    """Import the DICOM, PNG, JPEG and TIFF files below `source` with the labels CSV into a new store.

    `values` is "display" (fractions 0..1 of the display range) or "modality" (HU for CT). `workers` decoder processes;
    0 chooses. `on_progress(done, total)` counts files, `on_notice(sentence)` tells what a person should know meanwhile.
    Killed at any time, the same call goes on where it was and ends with the same store.

    Raises LabelsError, SourceError (also if no file became a sample), InputError (key), StoreExistsError, StoreError.
    """
    source, store = Path(source), Path(store)
    settings, tell = settings or Settings(), on_notice or (lambda _: None)
    refuse_existing(store)
    if store.resolve().is_relative_to(source.resolve()):
        raise InputError("The store cannot be inside the folder to import. Choose another --store.")
    table = read_labels(labels)
    files = list_files(source, skip=labels)
    check_picture_keys(source, files, table)
    secret = load_or_create_key(key_path(key))
    context = Context(
        source=os.fsencode(source.resolve()),
        key=secret,
        values=values,
        decoded_bytes=settings.decoded_bytes,
        seconds=settings.seconds,
        labels=table,
    )
    partial = store.with_name(store.name + ".partial")
    with locked(partial):
        journal = Journal(partial, _fingerprint(files, labels, context))
        with closing(journal):
            if journal.began_again:
                tell("An unfinished import was found, but its files, labels, key or options have changed: beginning again.")
            elif journal.earlier:
                tell(f"Going on with an unfinished import: {len(journal.earlier)} of {len(files)} files are done.")
            curation = Curation()
            for outcome in journal.earlier:
                curation.remember(outcome)
            tasks = _outcomes(files, len(journal.earlier), context, workers or _workers(len(files)), settings)
            with closing(tasks):
                for done, (outcome, pixels) in enumerate(tasks, start=len(journal.earlier) + 1):
                    kept = curation.take(outcome)
                    journal.append(kept, pixels)
                    if done % FLUSH_EVERY == 0 or kept.size > fmt.ALIGNMENT << 14:
                        journal.flush()
                    if on_progress is not None:
                        on_progress(done, len(files))
            journal.pixels.flush(durably=True)
            rejections = list(_rejections(files, curation))
            if not curation.records:
                raise _nothing(store, partial, rejections)
            card = data_card(curation.records, values=values, rejections=curation.rejected())
            manifest = seal(
                journal.store,
                curation.records,
                journal.pixels.entry(),
                values=values,
                card=card | {"labels_without_file": len(table.rows) - len(curation.rows), "n_files": len(files)},
                rejections=rejections,
            )
        refuse_existing(store)
        publish(journal.store, store)
        shutil.rmtree(partial)
    return ImportSummary(
        n_files=len(files),
        n_samples=manifest.n_samples,
        n_patients=manifest.n_patients,
        rejected=curation.rejected(),
        labels_without_file=len(table.rows) - len(curation.rows),
        store=store,
        report=store / fmt.REJECTIONS,
        card=store / fmt.CARD,
        digest=manifest.digest,
        resumed=len(journal.earlier),
    )


def _outcomes(
    files: tuple[Found, ...], start: int, context: Context, workers: int, settings: Settings
) -> Generator[tuple[Outcome, bytes]]:
    """What became of each file from number `start` on, in order; only files worth opening go to a decoder."""
    tasks = [Task(n, os.fsencode(files[n].name)) for n in range(start, len(files)) if files[n].reason is None]
    with Pool(msgspec.msgpack.encode(context), min(workers, len(tasks)), settings.seconds, settings.worker) as pool:
        decoded = pool.run(tasks)
        for number in range(start, len(files)):
            reason = files[number].reason
            yield next(decoded) if reason is None else (Outcome(number=number, reason=reason.value), b"")


def _workers(n_files: int) -> int:
    return 1 if n_files <= SMALL else max(1, min(os.cpu_count() or 1, 8))


def _fingerprint(files: tuple[Found, ...], labels: Path, context: Context) -> str:
    """What the outcome of an import depends on."""
    parts = (
        str(PIPELINE),
        listing_digest(files),
        hashlib.sha256(labels.read_bytes()).hexdigest(),
        key_check(context.key),
        context.values,
        str(context.decoded_bytes),
        str(context.seconds),
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _rejections(files: tuple[Found, ...], curation: Curation) -> Iterator[Rejection]:
    for file, value in zip(files, curation.reasons, strict=True):
        if value is not None:
            reason = REASONS[value]
            yield file.name, reason.value, f"{reason.sentence} {reason.hint}"


def _nothing(store: Path, partial: Path, rejections: list[Rejection]) -> SourceError:
    """No sample: leave the report beside where the store would be, and nothing else."""
    report = store.with_name(store.name + "." + fmt.REJECTIONS)
    write_durably(report, rejections_csv(rejections))
    shutil.rmtree(partial)
    return SourceError(f"None of the {len(rejections)} files became a sample, so there is no store. See {report} for why.")
