"""`import_folder`: a folder of images and a labels CSV become a cohort store."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import msgspec

from protocol.errors import InputError, SourceError
from silo_node.cohort import format as fmt
from silo_node.cohort.card import data_card
from silo_node.cohort.pixels import disk_error
from silo_node.cohort.sealing import publish, rejections_csv, seal, write_durably
from silo_node.cohort.writer import refuse_existing
from silo_node.intake.curation import Curation
from silo_node.intake.journal import Journal, fingerprint, locked
from silo_node.intake.labels import read_labels
from silo_node.intake.listing import Found, list_files
from silo_node.intake.messages import Answer, Context, Outcome, Task
from silo_node.intake.pool import WORKER, Pool, usable_cores
from silo_node.intake.preconditions import check_picture_keys, check_places
from silo_node.intake.pseudonym import key_path, load_or_create_key
from silo_node.intake.report import lines_without_file, rejections

SMALL = 200
"""Up to this many files one decoder process is quicker than starting several."""
MOST = 8
"""Decoder processes chosen at most: more of them would outrun the disk."""
FLUSH_FILES = 64
FLUSH_BYTES = 16 << 20


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
    0 chooses. `on_progress(done, total)` counts files, `on_notice(sentence)` tells what a person should know meanwhile
    (a new key was made, an unfinished import goes on). Killed or interrupted at any time, the same call goes on where
    it was and ends with the same store.

    Raises LabelsError, SourceError (also if no file became a sample), InputError (key), StoreExistsError, StoreError.
    """
    source, labels, store = Path(source), Path(labels), Path(store)
    settings = settings or Settings()
    tell = on_notice or (lambda _: None)
    check_places(source, store)
    if values not in get_args(fmt.Values):
        raise InputError(f"The values of a store are {' or '.join(get_args(fmt.Values))}, not {values!r}.")
    table = read_labels(labels)
    files = list_files(source, skip=labels)
    check_picture_keys(source, files, table)
    context = Context(
        source=os.fsencode(source.resolve()),
        key=load_or_create_key(key_path(key), tell),
        values=values,
        decoded_bytes=settings.decoded_bytes,
        seconds=settings.seconds,
        labels=table,
    )
    partial = store.with_name(store.name + ".partial")
    try:
        with locked(partial):
            with closing(Journal(partial, fingerprint(files, context))) as journal:
                _tell(journal, len(files), tell)
                curation = Curation(journal.earlier)
                with closing(_outcomes(files, len(journal.earlier), context, workers, settings)) as outcomes:
                    _take_in(outcomes, journal, curation, len(files), on_progress or (lambda _done, _total: None))
                manifest = _seal(files, journal, curation, context, store, partial)
            refuse_existing(store)
            publish(journal.store, store)
            shutil.rmtree(partial)
    except OSError as error:
        raise disk_error(error) from error
    return ImportSummary(
        n_files=len(files),
        n_samples=manifest.n_samples,
        n_patients=manifest.n_patients,
        rejected=curation.rejected(),
        labels_without_file=len(lines_without_file(files, curation, table)),
        store=store,
        report=store / fmt.REJECTIONS,
        card=store / fmt.CARD,
        digest=manifest.digest,
        resumed=len(journal.earlier),
    )


def _tell(journal: Journal, total: int, tell: Callable[[str], None]) -> None:
    if journal.began_again:
        tell("An unfinished import was found, but its files, labels, key or options have changed: beginning again.")
    elif journal.earlier:
        tell(f"Going on with an unfinished import: {len(journal.earlier)} of {total} files are done.")


def _outcomes(
    files: Sequence[Found], start: int, context: Context, workers: int, settings: Settings
) -> Generator[Answer, None, None]:
    """What became of each file from number `start` on, in order; only files worth opening go to a decoder."""
    tasks = [Task(n, os.fsencode(files[n].name)) for n in range(start, len(files)) if files[n].reason is None]
    count = workers or (1 if len(tasks) <= SMALL else min(usable_cores(), MOST))
    with Pool(msgspec.msgpack.encode(context), min(count, len(tasks)), settings.seconds, settings.worker) as pool:
        decoded = pool.run(tasks)
        for number in range(start, len(files)):
            reason = files[number].reason
            yield next(decoded) if reason is None else (Outcome(number=number, reason=reason.value), b"")


def _take_in(
    outcomes: Generator[Answer, None, None],
    journal: Journal,
    curation: Curation,
    total: int,
    on_progress: Callable[[int, int], None],
) -> None:
    """Curate and record every outcome; a kill costs at most the last few files."""
    done, unflushed = len(journal.earlier), 0
    for outcome, pixels in outcomes:
        kept = curation.take(outcome)
        journal.append(kept, pixels)
        done, unflushed = done + 1, unflushed + 1 + kept.size // FLUSH_BYTES * FLUSH_FILES
        if unflushed >= FLUSH_FILES:
            journal.flush()
            unflushed = 0
        on_progress(done, total)


def _seal(
    files: Sequence[Found], journal: Journal, curation: Curation, context: Context, store: Path, partial: Path
) -> fmt.Manifest:
    """Complete the store in its partial folder. SourceError, with a report beside the store's place, if it is empty."""
    report_rows = list(rejections(files, curation, context.labels))
    if not curation.records:
        report = store.with_name(f"{store.name}.{fmt.REJECTIONS}")
        write_durably(report, rejections_csv(report_rows))
        shutil.rmtree(partial)
        raise SourceError(f"None of the {len(files)} files became a sample: there is no store. See {report} for why.")
    journal.pixels.flush(durably=True)
    card = data_card(curation.records, values=context.values, rejections=curation.rejected(), warnings=curation.warnings())
    card |= {"n_files": len(files), "labels_without_file": len(lines_without_file(files, curation, context.labels))}
    return seal(
        journal.store,
        curation.records,
        journal.pixels.entry(),
        values=context.values,
        card=card,
        rejections=report_rows,
    )
