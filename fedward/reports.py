"""Where the report of a finished job lies, whichever of its folders or files somebody names."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protocol.errors import EvaluationError, InputError


@dataclass(frozen=True)
class Found:
    """Where a report lies, its bytes and its content."""

    out: Path
    content: bytes
    report: dict[str, Any]


def find(job: Path, *, from_journal: bool = False) -> Found:
    """The report of a run's folder, a job's folder or a report.json; made from the journal if it is not there, or if asked.

    Raises InputError if there is neither, EvaluationError if it is not JSON, JournalError if the job is not finished.
    """
    if not job.exists():
        raise InputError(f"{job} is not there; name the folder that a run left, or a report.json.")
    out = job if job.is_dir() else job.parent
    if out.name == "job" and (out / "journal.sqlite").is_file():
        out = out.parent
    path = out / "report.json" if job.is_dir() else job
    if from_journal or not path.is_file():
        from aggregator.finished import rewrite

        path = rewrite(out, one_machine=own_keys_of(out).is_file()).report_json
    try:
        content = path.read_bytes()
        report = json.loads(content)
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{path} cannot be read as a report: {error}.") from error
    if not isinstance(report, dict):
        raise EvaluationError(f"{path} holds no report.")
    return Found(out, content, report)


def own_keys_of(out: Path) -> Path:
    """The hospitals' keys that a run on one machine leaves in its own evidence."""
    return out / "evidence" / "site-keys.json"
