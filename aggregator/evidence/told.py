"""What the aggregator says happened, with the commitment of every release that a figure was taken from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from aggregator.evidence.seen import Seen, kept, seen
from aggregator.job import Job
from aggregator.records import AuditRecord, RosterRecord, RoundRecord, ScoresRecord
from protocol.errors import JournalError
from protocol.evidence.bundle import AuditCourse, Course, RoundCourse, ScoringCourse, SumEvidence, sum_name
from protocol.messages import Release, decode_release
from protocol.secure_aggregation import AUDIT, Where, scores_purpose


class Told:
    """The course of `job`, and the evidence of every sum in it by name. Reads the journal, writes nothing."""

    def __init__(self, job: Job) -> None:
        self._job, self._seen = job, seen(job.journal)
        self._names: dict[str, list[tuple[str, str]]] = {}
        for one in self._seen:
            for silo, reply in one.replies.items():
                self._names.setdefault(silo, []).append((reply.kind, reply.commitment))
        self.sums: dict[str, SumEvidence] = {}
        self.course = self._course()

    @property
    def releases(self) -> dict[str, bytes]:
        """Bytes of every release that the course or a sum names, by commitment."""
        course, named = self.course, set(self.course.described.values())
        for scoring in course.scorings:
            named |= set(scoring.used.values())
        if course.audit is not None:
            named |= set(course.audit.used.values())
        for evidence in self.sums.values():
            for phase in (evidence.advertised, evidence.masked, evidence.vouched, evidence.revealed):
                named |= set(phase.values())
        return {name: data for name in sorted(named) if (data := kept(self._job.journal, name)) is not None}

    def _course(self) -> Course:
        job = self._job
        roster = job.journal.fact("roster", RosterRecord)
        if roster is None:
            raise JournalError("this job has no roster yet; run it first.")
        audit = job.audit()
        return Course(
            job=job.name,
            configured=roster.configured,
            described=self._used(roster.descriptions, ("description", "private-description")),
            absent=roster.failures,
            rounds=tuple(_round(record) for record in job.rounds()),
            scorings=tuple(self._scoring(record) for record in job.scores()),
            audit=None if audit is None else self._audit(audit),
            software=job.journal.fact("environment", dict[str, str]) or {},
        )

    def _scoring(self, record: ScoresRecord) -> ScoringCourse:
        return ScoringCourse(
            round=record.round,
            kind=record.kind,
            split=record.split,
            used=self._used(record.scores, ("scores", "private-scores")),
            failures=record.failures,
            survivors=record.survivors,
            sum=self._sum(scores_purpose(record.kind, record.split), record.round, record.survivors),
            unsummed=record.unsummed,
        )

    def _audit(self, record: AuditRecord) -> AuditCourse:
        opened = self._sum(AUDIT, record.round, record.sites)
        singly = () if opened else record.sites
        return AuditCourse(
            round=record.round,
            edges=record.edges,
            used={silo: found for silo in singly if (found := self._last(silo, "audit-counts", record.round))},
            failures=record.failures,
            sites=record.sites,
            sum=opened,
            unsummed=record.unsummed,
        )

    def _used(self, releases: Mapping[str, Release], kinds: tuple[str, ...]) -> dict[str, str]:
        """Which reply each of these was: the last one that says the very same. None was noted by older releases of fedward."""
        found: dict[str, str] = {}
        for silo, release in releases.items():
            for kind, commitment in self._names.get(silo, ()):
                if kind in kinds and (data := kept(self._job.journal, commitment)) and decode_release(data) == release:
                    found[silo] = commitment
        return found

    def _last(self, silo: str, kind: str, number: int) -> str | None:
        at = [one.replies[silo] for one in self._seen if one.address.round == number and silo in one.replies]
        return next((reply.commitment for reply in reversed(at) if reply.kind == kind), None)

    def _sum(self, purpose: str, number: int, survivors: Sequence[str]) -> str | None:
        """The name of the evidence of the sum that was opened; None without one, or if it was not noted."""
        here = [one for one in self._seen if (one.address.purpose, one.address.round) == (purpose, number)]
        opened = [one.address.attempt for one in here if any(x.kind == "secure-revealed" for x in one.replies.values())]
        if not opened or not survivors:
            return None
        last = max(opened)
        here = [one for one in here if one.address.attempt == last]
        manifest = next((one.manifest for one in here if one.manifest is not None), None)
        if manifest is None:
            return None
        phases = {kind: _replies(here, kind) for kind in ("secure-advertised", "secure-shared", "masked-scores")}
        phases |= {kind: _replies(here, kind) for kind in ("secure-vouched", "secure-revealed")}
        name = sum_name(purpose, number)
        self.sums[name] = SumEvidence(
            where=Where(self._job.name, number, last, purpose),
            manifest=manifest,
            advertised=phases["secure-advertised"],
            sharers=tuple(sorted(phases["secure-shared"])),
            masked={silo: found for silo, found in phases["masked-scores"].items() if silo in survivors},
            vouched=phases["secure-vouched"],
            revealed=phases["secure-revealed"],
        )
        return name


def _replies(told: Sequence[Seen], kind: str) -> dict[str, str]:
    return {silo: reply.commitment for one in told for silo, reply in one.replies.items() if reply.kind == kind}


def _round(record: RoundRecord) -> RoundCourse:
    names = RoundCourse.__struct_fields__
    return RoundCourse(**{name: value for name, value in msgspec.structs.asdict(record).items() if name in names})
