"""Look at one file: what is it, whose is it, which label, which pixels. Pure but for reading the file."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import msgspec

from silo_node.cohort.format import SampleRecord, aligned
from silo_node.intake.attribute_privacy import Attribute, Identifiers, Why, vet
from silo_node.intake.candidate import Candidate, Facts, Frame, Limits
from silo_node.intake.dicom import read_dicom
from silo_node.intake.label_table import LabelRow
from silo_node.intake.messages import Answer, Context, Outcome, Task
from silo_node.intake.pictures import read_picture
from silo_node.intake.pseudonym import instance_pseudonym, patient_pseudonym, person_pseudonym
from silo_node.intake.reasons import Reason, Rejection
from silo_node.intake.sniffing import HEAD, Kind, kind_of


def examine(
    context: Context,
    task: Task,
    on_step: Callable[[], None] = lambda: None,
    on_match: Callable[[int], None] = lambda _: None,
) -> Answer:
    """What becomes of one file, and the pixels of its samples. Never raises: every failure is a reason.

    `on_step` is called at the beginning and before every frame, so that a time limit can be one for a frame;
    `on_match` as soon as the file's label row is known.
    """
    outcome = Outcome(number=task.number)
    name = os.fsdecode(task.name)
    on_step()
    try:
        # Readers warn about whatever is odd in a file, sometimes naming values; the reasons are what we report.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            candidate = open_candidate(Path(os.fsdecode(context.source)) / name, name)
            identity = candidate.identity | {"file": name}
            number = context.labels.find(identity)
            outcome = msgspec.structs.replace(outcome, row=number)
            on_match(number)
            return _sampled(context, outcome, candidate, context.labels.check(number, identity), on_step)
    except Rejection as rejection:
        reason = rejection.reason
        if rejection.identity:
            outcome = msgspec.structs.replace(outcome, row=context.labels.lookup(rejection.identity | {"file": name}))
    except MemoryError:
        reason = Reason.TOO_LARGE
    except OSError:
        reason = Reason.UNREADABLE
    except Exception:  # a file must never stop the import, whatever it makes a reader do
        reason = Reason.DECODE_FAILED
    return msgspec.structs.replace(outcome, reason=reason.value), b""


def open_candidate(path: Path, name: str) -> Candidate:
    """The file's header, whatever kind of image it is. Raises Rejection or OSError."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    match kind_of(head):
        case Kind.DICOM:
            candidate = read_dicom(path)
        case Kind.PICTURE:
            candidate = read_picture(path, name)
    return dataclasses.replace(candidate, identifiers=candidate.identifiers.also([Path(name).stem]))


def _sampled(context: Context, outcome: Outcome, candidate: Candidate, row: LabelRow, on_step: Callable[[], None]) -> Answer:
    patient_id = candidate.identity.get("PatientID")
    issuer = candidate.issuer if patient_id else ""
    patient_id = patient_id or row.keys.get("PatientID")
    if not patient_id:
        raise Rejection(Reason.NO_PATIENT)
    patient = patient_pseudonym(context.key, patient_id, issuer)
    uid = candidate.identity.get("SOPInstanceUID")
    instance = instance_pseudonym(context.key, uid) if uid else None
    limits = Limits(context.decoded_bytes, context.seconds)
    known = candidate.identifiers.also([value for key, value in row.keys.items() if key != "file"])
    records: list[SampleRecord] = []
    withheld: dict[Attribute, Why] = {}
    pixels = bytearray()
    on_step()
    for frame in candidate.frames(context.values, limits):
        pixels.extend(bytes(aligned(len(pixels)) - len(pixels)))
        record = _record(candidate.facts, row, frame, patient, instance, offset=len(pixels))
        record, left_out = _vetted(record, known)
        records.append(record)
        withheld |= left_out
        pixels.extend(frame.pixels.astype(frame.pixels.dtype.newbyteorder("<"), order="C", copy=False).data.cast("B"))
        on_step()
    done = msgspec.structs.replace(
        outcome,
        instance=instance,
        person=person_pseudonym(context.key, patient_id),
        records=records,
        withheld=withheld,
        size=len(pixels),
        sha256=hashlib.sha256(pixels).hexdigest(),
    )
    return done, pixels


def _record(facts: Facts, row: LabelRow, frame: Frame, patient: str, instance: str | None, *, offset: int) -> SampleRecord:
    """Everything known about one image. The labels CSV was written by a person, so it goes before the file."""
    channels, rows, columns = frame.pixels.shape
    return SampleRecord(
        patient=patient,
        labels=row.labels,
        shape=(channels, rows, columns),
        dtype=frame.pixels.dtype.name,  # type: ignore[arg-type]  # Frame holds these types only
        offset=offset,
        fold=row.fold,
        sex=row.sex or facts.sex,
        age=facts.age if row.age is None else row.age,
        manufacturer=row.manufacturer or facts.manufacturer,
        model=row.model or facts.model,
        modality=row.modality or facts.modality,
        instance=instance,
        frame=frame.number,
        spacing=frame.spacing,
        photometric=frame.photometric,
        encoding=facts.encoding,
        range=frame.range,
        units=frame.units,
        text_free=facts.text_free,
    )


def _vetted(record: SampleRecord, known: Identifiers) -> tuple[SampleRecord, dict[Attribute, Why]]:
    """The record without texts that name the patient or the image, and which they were."""
    stated: dict[Attribute, str | None] = {
        "manufacturer": record.manufacturer,
        "model": record.model,
        "modality": record.modality,
        "units": record.units,
    }
    kept, withheld = vet(stated, known)
    return msgspec.structs.replace(record, **kept), withheld
