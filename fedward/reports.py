"""Where the report of a finished job lies, whichever of its folders or files somebody names."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protocol.consortium.files import read_private
from protocol.errors import EvaluationError, InputError
from protocol.identity import Identity


@dataclass(frozen=True)
class Found:
    """Where a report lies, its bytes and its content."""

    out: Path
    content: bytes
    report: dict[str, Any]


def find(job: Path, *, from_journal: bool = False, identity: Path | None = None) -> Found:
    """The report of a run's folder, a job's folder or a report.json; made from the journal if it is not there, or if asked.

    `identity` is the file of the aggregator's key, which then signs the evidence anew; a run on one machine needs none. Raises
    InputError if there is neither, EvaluationError if it is not JSON, JournalError if the job is not finished.
    """
    if not job.exists():
        raise InputError(f"{job} is not there; name the folder that a run left, or a report.json.")
    out = job if job.is_dir() else job.parent
    if out.name == "job" and (out / "journal.sqlite").is_file():
        out = out.parent
    path = out / "report.json" if job.is_dir() else job
    if from_journal or not path.is_file():
        from aggregator.finished import rewrite

        own = own_keys_of(out).is_file()
        path = rewrite(out, _signer(out, identity, own=own), one_machine=own).report_json
    try:
        content = path.read_bytes()
        report = json.loads(content)
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{path} cannot be read as a report: {error}.") from error
    if not isinstance(report, dict):
        raise EvaluationError(f"{path} holds no report.")
    return Found(out, content, report)


def _signer(out: Path, identity: Path | None, *, own: bool) -> Identity | None:
    """Who signs the evidence anew: the identity given, or the job's own key where nobody else knows the aggregator's."""
    if identity is not None:
        read_private(identity)  # which refuses one that is not there, instead of making a new one
        return Identity.open(identity)
    if (out / "evidence").is_dir() and not own:
        raise InputError(
            "report.json would be made anew, and with it the evidence, which auditors expect to be signed by the aggregator: "
            "name its key with --identity FILE (identity.key in the aggregator's folder)."
        )
    return None


def own_keys_of(out: Path) -> Path:
    """The hospitals' keys that a run on one machine leaves in its own evidence."""
    return out / "evidence" / "site-keys.json"
