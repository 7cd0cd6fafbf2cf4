"""Write the bundle of a finished job: everything an auditor needs, checked offline by `fedward audit verify`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec

from aggregator.evidence.closing import EvidenceRecord
from aggregator.evidence.told import Told
from aggregator.job import Job
from evaluation.report.finish import finished
from evaluation.verify.entry import evidence_entry
from protocol.canonical import canonical_json, digest_bytes
from protocol.errors import JournalError
from protocol.evidence import bundle as names
from protocol.evidence.checkpoint import Checkpoint
from protocol.evidence.dsse import parse, seal
from protocol.evidence.keys import SiteKeys
from protocol.identity import Identity

FOLDER = "evidence"
_README = """\
Evidence of the fedward job {job}
=================================

`fedward audit verify FOLDER --keys KEYS` checks this folder, offline. KEYS holds the hospitals' public keys: have them by
another way than from whoever gave you this folder.{keys}

restricted/ IS NOT FOR EVERYBODY. It holds what the figures of the report were made from: releases of single hospitals, and what
opens the exact sums of their counts. Exact counts hold small cells, which may point at patients. Give it to auditors who may
see them; to anyone else give the folder without it. What can be checked without it still is, and the rest is named.

plan.json           the plan, in canonical JSON (RFC 8785); its SHA-256 is the plan's digest
checkpoint.json     the job's course in one record, and the Merkle root (RFC 6962) of all receipts
cosignatures.json   each hospital's signature under the checkpoint
receipts/           each hospital's signed receipts of everything that left it, a hash chain
rounds.json         what the aggregator says happened
index.json          SHA-256 of all files here and of the job's report.json, signed by the aggregator
"""
_ONE_MACHINE = """
site-keys.json is here because all hospitals of this run were played on one machine. It proves nothing to anybody else."""


def write_bundle(
    job: Job, out: Path, report: Path, identity: Identity | None = None, *, one_machine: bool = False
) -> Path | None:
    """Write `out`/evidence and return it; None for a job that was finished by a release that collected no evidence.

    `report` is the job's report.json. The index is signed by `identity`, or else by a key of the job's own. `one_machine` adds
    the public keys. Raises JournalError.
    """
    record = job.evidence()
    if record is None:
        return None
    identity = identity or Identity.open(job.journal.folder / "identity.key")
    files = _files(job, record)
    if one_machine:
        files[names.KEYS] = SiteKeys(identity.public_key.hex(), _keys(record)).to_bytes()
    files[names.README] = _README.format(job=job.name, keys=_ONE_MACHINE if one_machine else "").encode()
    digests = {path: digest_bytes(data) for path, data in sorted(files.items())}
    index = names.Index(job.name, digests, digest_bytes(report.read_bytes()))
    files[names.INDEX] = seal(identity, names.AGGREGATOR, names.INDEX_TYPE, index)
    return _write(out / FOLDER, files)


def evidenced(report: dict[str, Any], job: Job) -> dict[str, Any]:
    """`report` with what it says of its own evidence; as it is for a job without."""
    record = job.evidence()
    if record is None:
        return report
    checkpoint = parse(record.checkpoint, Checkpoint)
    return finished(report | evidence_entry(record.checkpoint, checkpoint, tuple(record.cosignatures), record.failures))


def _files(job: Job, record: EvidenceRecord) -> dict[str, bytes]:
    told = Told(job)
    signed = {silo: envelope.decode("ascii") for silo, envelope in record.cosignatures.items()}
    files = {
        names.PLAN: job.plan.canonical,
        names.CHECKPOINT: record.checkpoint,
        names.COSIGNATURES: _json(names.Cosignatures(signed, record.failures)),
        names.COURSE: _json(told.course),
    }
    files |= {f"{names.RECEIPTS}{silo}.jsonl": lines for silo, lines in record.chains.items()}
    files |= {names.sum_path(name): _json(evidence) for name, evidence in told.sums.items()}
    return files | {names.release_path(commitment): data for commitment, data in told.releases.items()}


def _keys(record: EvidenceRecord) -> dict[str, str]:
    roster = msgspec.json.decode(record.checkpoint)["roster"]
    return {site["name"]: site["public_key"] for site in roster if site["public_key"]}


def _json(value: msgspec.Struct) -> bytes:
    return canonical_json(msgspec.to_builtins(value))


def _write(folder: Path, files: dict[str, bytes]) -> Path:
    """The whole folder or the one before; what is in it can be made again from the journal at any time."""
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        for path, data in files.items():
            target = partial / path
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            target.write_bytes(data)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except OSError as error:
        raise JournalError(f"the evidence could not be written ({error}). Free space, then run again with --resume.") from error
    return folder
