"""What a silo keeps between messages, on its own disk: the plan of each job, personal parts by round, what compression held
back by round, its own models.

Every file is written whole or not at all. What belongs to a round is named by the round that made it, so that one which has to
be repeated starts from the same as the first time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from protocol.errors import SiloError
from protocol.plan import Plan, parse_canonical
from protocol.vectors import Vector, load_tensors, save_tensors

Personal = Mapping[str, np.ndarray[Any, Any]]
_UNSENT = "unsent"
TIDIED = "tidied"
"""A file that marks a job whose models were thrown away."""
_JOB = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")


class JobState:
    """The state of one job in `root`/jobs/<job>/."""

    def __init__(self, root: Path, job: str) -> None:
        if not _JOB.fullmatch(job):
            raise SiloError("the job's name is not one fedward makes; it is refused.")
        self.folder = root / "jobs" / job
        if (self.folder / TIDIED).exists():
            raise SiloError(
                "what this hospital kept of the job was tidied away long after it was last heard of; start a new job."
            )

    def keep_plan(self, plan: Plan) -> None:
        """Remember the plan of this job. Raises SiloError if the job already has another."""
        known = self.plan()
        if known is not None and known.digest != plan.digest:
            raise SiloError("this job was described with another plan before; start a new job for a new plan.")
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = self.folder / "plan.json.partial"
        partial.write_bytes(plan.canonical)
        partial.replace(self.folder / "plan.json")

    def plan(self) -> Plan | None:
        """The plan this job was described with, if any."""
        path = self.folder / "plan.json"
        return parse_canonical(path.read_bytes()) if path.exists() else None

    def keep_personal(self, round_number: int, tensors: Personal, keep_last: int) -> None:
        """Keep the personal parts of a round; forget those that no repeated round or final average can need."""
        self._keep("personal", round_number, tensors, round_number - max(1, keep_last) + 1)

    def personal(self, before: int) -> Personal | None:
        """The newest personal parts of a round before `before`."""
        return self._newest("personal", before)

    def personal_mean(self, first: int, last: int) -> Personal | None:
        """The mean of the personal parts of rounds `first` to `last`; the newest before that if none is there."""
        chosen = [load_tensors(self._path("personal", n)) for n in self._rounds("personal") if first <= n <= last]
        if len(chosen) <= 1:
            return self.personal(last + 1)
        return {name: _mean([tensors[name] for tensors in chosen]) for name in chosen[0]}

    def keep_unsent(self, round_number: int, values: Vector) -> None:
        """Keep what the update of a round held back, shape (n,); forget what no repeated round can need."""
        self._keep("unsent", round_number, {_UNSENT: values}, round_number)

    def unsent(self, before: int) -> Vector | None:
        """What the newest update of a round before `before` held back. Raises SiloError if the file is not fedward's."""
        kept = self._newest("unsent", before)
        if kept is None:
            return None
        if kept.keys() != {_UNSENT} or (values := kept[_UNSENT]).dtype != np.float32:
            raise SiloError("what this job held back of its updates is damaged; start a new job.")
        return values

    def keep_model(self, kind: str, tensors: Personal) -> None:
        """Keep one of the hospital's own models: `alone` or `personalised`."""
        save_tensors(self.folder / f"{kind}.safetensors", tensors)

    def keep_origin(self, digest: str) -> None:
        """Remember, before the personalised model is made, which shared model it is made from."""
        partial = self.folder / "personalised.origin.partial"
        partial.write_text(digest, encoding="ascii")
        partial.replace(self.folder / "personalised.origin")

    def origin(self) -> str | None:
        """Digest of the shared model that the personalised one was made from, if there is one."""
        path = self.folder / "personalised.origin"
        return path.read_text(encoding="ascii") if path.exists() else None

    def keep_audit(self, asked: str) -> None:
        """Remember what this job's audit was asked for: one model, one set of edges. Raises SiloError if it was another.

        Counts of other bins, or of another model, would tell more of the same patients than the plan foresees.
        """
        path = self.folder / "audit.asked"
        known = path.read_text(encoding="ascii") if path.exists() else None
        if known is None:
            partial = self.folder / "audit.asked.partial"
            partial.write_text(asked, encoding="ascii")
            partial.replace(path)
        elif known != asked:
            raise SiloError("the audit was already asked for with another model or other edges; a job has one.")

    def model(self, kind: str) -> Personal | None:
        """A model kept earlier."""
        path = self.folder / f"{kind}.safetensors"
        return load_tensors(path) if path.exists() else None

    def _keep(self, kind: str, round_number: int, tensors: Personal, first: int) -> None:
        """Write; then forget all before round `first` but the newest: this silo may have missed the rounds between."""
        save_tensors(self._path(kind, round_number), tensors)
        for number in [number for number in self._rounds(kind) if number < first][:-1]:
            self._path(kind, number).unlink(missing_ok=True)

    def _newest(self, kind: str, before: int) -> Personal | None:
        rounds = [number for number in self._rounds(kind) if number < before]
        return load_tensors(self._path(kind, rounds[-1])) if rounds else None

    def _path(self, kind: str, number: int) -> Path:
        return self.folder / f"{kind}-{number:05d}.safetensors"

    def _rounds(self, kind: str) -> list[int]:
        return sorted(int(path.stem.removeprefix(f"{kind}-")) for path in self.folder.glob(f"{kind}-*.safetensors"))


def _mean(tensors: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    return np.mean(tensors, axis=0, dtype=np.float64).astype(tensors[0].dtype)
