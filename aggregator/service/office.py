"""The service itself: one job after the other over the broker, killed at any instant and started again."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Flag

import msgspec

from aggregator.consortium.office import Office
from aggregator.events import Event, StepStarted
from aggregator.job import Job
from aggregator.results import write_results
from aggregator.service.among import among_its_own
from aggregator.service.health import health_page
from aggregator.service.live import LiveStatus, Presence
from aggregator.service.post import Post
from aggregator.service.queue import Queue, Standing, State, Ticket
from aggregator.service.room import LEAST, free, is_full, needed
from aggregator.software import software
from aggregator.tracking import MlflowTracker
from aggregator.tracking.note import note
from protocol.consortium.folder import ready
from protocol.consortium.records import Roster
from protocol.errors import FedwardError, QuorumError
from protocol.identity import Identity
from protocol.secure_aggregation import Member
from protocol.transport.base import Transport
from protocol.transport.nats import NatsTransport
from protocol.transport.nats.kit import endpoint_of
from protocol.transport.nats.streams import sizes_for

_log = logging.getLogger(__name__)
_LOOK_S = 0.5


class Cancelled(Exception):
    """The job's end was asked for."""


class Stopped(Exception):
    """The service's end was asked for; the job goes on when it is started again."""


class NoRoom(Exception):
    """The disk has no room for the next step: it is not begun, so that no hospital works and pays for nothing."""


@dataclass(frozen=True)
class ServiceSettings:
    """`tries`: how often a job that loses its quorum is tried, each time once enough silos are there, awaited for `grace_s`."""

    tracking_uri: str = ""
    tracking_folder: Path | None = None
    """Where MLflow's store lies if there is no URI; the office without it."""
    tries: int = 3
    grace_s: float = 600.0
    health_port: int = 0
    """/healthz, /readyz and /metrics on loopback; 0 turns them off."""


class Aggregator:
    """The coordinator's service: the jobs in `folder` over `transport`, whose silos are `members`.

    `outdated` says whether the roster is another one by now: then `run` ends between two jobs, to be begun with the new one.
    `identity` signs the evidence of its jobs; `post` carries governance between them.
    """

    def __init__(
        self,
        folder: Path,
        transport: Transport,
        members: Sequence[Member],
        presence: Presence,
        settings: ServiceSettings | None = None,
        outdated: Callable[[], bool] = lambda: False,
        identity: Identity | None = None,
        post: Post | None = None,
    ) -> None:
        self._outdated, self._identity, self._post = outdated, identity, post
        self._settings = settings or ServiceSettings()
        self._queue, self._stop, self._short = Queue(folder), Flag(), Flag()
        self._jobs, self._wanted = folder / "jobs", LEAST
        self._tracking = self._settings.tracking_folder or folder
        self._transport, self._members, self._presence = transport, tuple(members), presence

    def stop(self) -> None:
        """Leave the job in hand at the next answer of a silo, and end. From any thread, or a signal's handler."""
        self._stop.set()

    def run(self, *, until_idle: bool = False) -> bool:
        """Work until `stop`; with `until_idle` until no job waits. True if it ended because the roster is outdated."""
        while not self._stop.is_set():
            if self._outdated():
                return True
            ticket = self._queue.next()
            if ticket is not None:
                self._wanted = LEAST
                self._work(ticket)
            elif until_idle:
                return False
            else:
                self._carry()
                self._stop.wait(_LOOK_S)
        return False

    def _carry(self) -> None:
        """Governance travels while no job does; only to silos that are there, so that nobody waits."""
        if self._post is not None:
            self._post.carry([silo for silo, (state, _) in self._presence().items() if state == "alive"])

    # ---------------------------------------------------------------------------------------------------------------- jobs

    @property
    def short_of_room(self) -> bool:
        """Whether a job waits for room on the disk."""
        return self._short.is_set()

    def _work(self, ticket: Ticket) -> None:
        """One job until it has ended or the service must end. Where the disk is full it waits until there is room."""
        while not self._had_room(ticket):
            if not self._await_room(ticket):
                return

    def _had_room(self, ticket: Ticket) -> bool:
        """Work on a job; False if it came to a full disk."""
        try:
            self._try(ticket)
        except (FedwardError, OSError, NoRoom) as error:
            if not (isinstance(error, NoRoom) or is_full(error)):
                raise
            return False
        return True

    def _await_room(self, ticket: Ticket) -> bool:
        """Until the job can go on, or its end can be written; False if the service must end."""
        # What failed although there seemed to be enough needs more; but never a disk that is all but empty.
        self._wanted = max(self._wanted, min(2 * free(ticket.folder), shutil.disk_usage(ticket.folder).total // 4))
        reason = f"the disk is full: the job waits until {self._wanted / 1e6:.0f} MB are free in {self._jobs}"
        self._short.set()
        _log.error(reason, extra={"event": "waiting for room", "job": ticket.name, "reason": reason})
        try:
            with suppress(FedwardError):  # a full disk takes nothing; one that is only too small takes this
                ticket.put(msgspec.structs.replace(ticket.standing(), reason=reason))
            while free(ticket.folder) < (LEAST if ticket.cancelled else self._wanted):
                if self._stop.wait(_LOOK_S):
                    _say("job interrupted", ticket)
                    return False
        finally:
            self._short.clear()
        _say("room again", ticket)
        return True

    def _try(self, ticket: Ticket) -> None:
        """As `_work`; raises what a full disk makes of it."""
        standing = ticket.standing()
        begun = standing.started_at or time.time()
        standing = ticket.put(msgspec.structs.replace(standing, state="running", started_at=begun, reason=""))
        _say("job started", ticket)
        try:
            while True:
                self._look(ticket)
                try:
                    self._run(ticket)
                    break
                except QuorumError as error:
                    standing = msgspec.structs.replace(standing, attempts=standing.attempts + 1, reason=str(error))
                    ticket.put(standing)
                    _say("quorum lost", ticket, outcome=f"try {standing.attempts} of {self._settings.tries}")
                    if standing.attempts >= self._settings.tries or not self._enough(ticket):
                        raise
        except Stopped:
            _say("job interrupted", ticket)
            return
        except Cancelled:
            self._end(ticket, standing, "cancelled", "cancelled by the coordinator")
        except FedwardError as error:
            if is_full(error):
                raise
            self._end(ticket, standing, "failed", str(error))
        except OSError as error:
            if is_full(error):
                raise
            self._end(ticket, standing, "failed", f"a file could not be used ({error.strerror}); free space and submit again.")
        else:
            self._end(ticket, standing, "done", "")

    def _end(self, ticket: Ticket, standing: Standing, state: State, reason: str) -> None:
        ended = msgspec.structs.replace(standing, state=state, ended_at=time.time(), reason=reason)
        ticket.put(ended)
        _say("job ended", ticket, outcome=state, **({"reason": reason} if state == "failed" else {}))

    def _run(self, ticket: Ticket) -> None:
        """The job from where its journal stands to its results."""
        transport = among_its_own(self._transport, ticket.folder / "job")
        members = tuple(member for member in self._members if member.name in transport.silos)
        plan, live = ticket.plan(), LiveStatus(ticket.live, transport.silos, self._presence)
        uri = self._settings.tracking_uri or f"sqlite:///{(self._tracking / 'mlflow.db').absolute()}"
        artifacts = None if self._settings.tracking_uri else self._tracking / "mlartifacts"
        tracker = MlflowTracker(uri, artifacts, software())

        def observe(event: Event) -> None:
            live(event)
            tracker(event)
            self._look(ticket)
            if isinstance(event, StepStarted) and free(ticket.folder) < self._wanted:
                raise NoRoom

        job = Job(plan, transport, ticket.folder / "job", observe, software(), members)
        self._wanted = max(self._wanted, needed(job.models.layout.size))
        try:
            with closing(job.journal), live.kept_fresh():
                job.run()
                written = write_results(job, ticket.folder, self._identity)
        except BaseException as error:
            tracker.finish(
                "KILLED" if isinstance(error, Cancelled | Stopped | NoRoom) or is_full(error) else "FAILED", {}, plan, None
            )
            raise
        files = {"report": written.report_html, "": written.report_json, "plan": written.plan, "model-file": written.model}
        tracker.finish("FINISHED", files, plan, written.model, note(written.report), written.report)
        if self._post is not None:
            self._post.lay_out(plan.digest, ticket.folder)

    def _look(self, ticket: Ticket) -> None:
        if ticket.cancelled:
            raise Cancelled
        if self._stop.is_set():
            raise Stopped

    def _enough(self, ticket: Ticket) -> bool:
        """Wait until as many silos are there as the plan needs; False if they do not come within the grace."""
        wanted, end = ticket.plan().federation.quorum, time.monotonic() + self._settings.grace_s
        while time.monotonic() < end:
            self._look(ticket)
            if sum(state == "alive" for state, _ in self._presence().values()) >= wanted:
                return True
            self._stop.wait(_LOOK_S)
        return False


@contextmanager
def connected(office: Office, settings: ServiceSettings) -> Iterator[Aggregator]:
    """The service of a consortium at its broker. Raises FederationError, saying what to mend, if it cannot be reached."""

    def stamp() -> int:
        return office.aggregator.roster.stat().st_mtime_ns

    begun = stamp()
    name, roster = ready(office.aggregator)
    members = members_of(roster)
    identity = office.aggregator.open_identity()
    transport = NatsTransport(
        endpoint_of(office.aggregator, name),
        identity,
        {member.name: member.public_key for member in members},
        consortium=roster.consortium,
        sizes=sizes_for(office.settings().max_file, len(roster.members)),
    )

    def presence() -> Mapping[str, tuple[str, float | None]]:
        return {silo: (one.state, one.seconds) for silo, one in transport.liveness().items()}

    post = Post(office.folder / "share", transport, roster.consortium)
    made = Aggregator(office.folder, transport, members, presence, settings, lambda: stamp() != begun, identity, post)
    page = health_page(
        settings.health_port, office.folder, lambda: transport.connected, presence, lambda: not made.short_of_room
    )
    with closing(transport), page:
        yield made


def members_of(roster: Roster) -> tuple[Member, ...]:
    """The silos of a roster as secure aggregation knows them, in the roster's order."""
    return tuple(Member(party.name, bytes.fromhex(party.identity)) for party in roster.active)


def _say(event: str, ticket: Ticket, **fields: str) -> None:
    _log.info(event, extra={"event": event, "job": ticket.name, **fields})
