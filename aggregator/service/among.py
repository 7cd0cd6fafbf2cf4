"""A job keeps the hospitals with which it began, also when the consortium has grown since."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from aggregator.journal import Journal
from protocol.transport.base import Failure, Transport, check_roster


@dataclass(frozen=True)
class Among:
    """`inner` as far as it reaches `silos`, which it must reach all."""

    inner: Transport
    silos: tuple[str, ...]

    def exchange(self, requests: Mapping[str, bytes], deadline_s: float) -> Iterator[tuple[str, bytes | Failure]]:
        """As Transport says."""
        check_roster(requests, self.silos)
        return self.inner.exchange(requests, deadline_s)


def among_its_own(transport: Transport, folder: Path) -> Transport:
    """`transport`, for the job whose journal lies in `folder`: without hospitals that came after it began.

    Where one of its own is gone nothing is left out; the job itself says what to do then. Raises JournalError.
    """
    if not (folder / "journal.sqlite").exists():
        return transport
    with closing(Journal(folder)) as journal:
        began = tuple(journal.fact("silos", list[str]) or ())
    return Among(transport, began) if began and set(began) < set(transport.silos) else transport
