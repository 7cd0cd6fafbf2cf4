"""A finished job's results once more, from its journal alone: no silo is asked anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from aggregator.job import Job
from aggregator.journal import Journal
from aggregator.results import Written, write_results
from aggregator.steps import CloseJob, Progress, next_step
from protocol.errors import FederationError, InputError, JournalError
from protocol.identity import Identity
from protocol.plan import parse_canonical
from protocol.transport.base import Failure


@dataclass(frozen=True)
class _Nobody:
    """A transport that knows the roster and reaches none of it."""

    silos: tuple[str, ...]

    def exchange(self, requests: Mapping[str, bytes], deadline_s: float) -> Iterator[tuple[str, bytes | Failure]]:
        """Refuse: what a finished job lacks is not asked for again."""
        raise FederationError(f"a finished job asks nobody ({len(requests)} requests within {deadline_s:g} s).")


def has_journal(out: Path) -> bool:
    """Whether the folder of a run or of a job holds a journal."""
    return (out / "job" / "journal.sqlite").is_file()


def rewrite(out: Path, identity: Identity | None = None, *, one_machine: bool = False) -> Written:
    """Write the results of the job in `out` again (aggregator.results). `out` is what --out was, or the job's folder.

    Raises InputError if there is no journal, JournalError if the job is not finished, is running, or its journal is damaged.
    """
    if not has_journal(out):
        raise InputError(f"{out} holds no job (job/journal.sqlite); name the folder that a run left, or a report.json.")
    with closing(Journal(out / "job")) as journal:
        plan, silos = parse_canonical(journal.bytes("plan") or b""), tuple(journal.fact("silos", list[str]) or ())
        step = next_step(plan, Progress(len(journal.rounds()), journal.keys()), validate=False)
    if step is not None and not isinstance(step, CloseJob):  # a job of a release without evidence was never closed
        raise JournalError(f"the job in {out} is not finished; let it run to its end (fedward run --resume), then ask again.")
    job = Job(plan, _Nobody(silos), out / "job", lambda _event: None)
    with closing(job.journal):
        return write_results(job, out, identity, one_machine=one_machine)
