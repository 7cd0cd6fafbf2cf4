"""`fedward silo serve`: a node that stays, reaches the broker from inside, and answers what comes."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from privacy.ledger import Ledger
from privacy.ledger.budget import Budget, by_job
from protocol.consortium.folder import PartyFolder, ready
from protocol.consortium.records import Roster
from protocol.errors import ApprovalError, FedwardError
from protocol.governance.courier import PREFIX, answer, decode_ask, encode
from protocol.governance.pins import email_of
from protocol.governance.pysyft.share import Share
from protocol.secure_aggregation import Member
from protocol.service_health import HealthPage
from protocol.transport.nats import NatsInbox
from protocol.transport.nats.kit import endpoint_of
from silo_node.cohort import CohortStore
from silo_node.cohort.format import MANIFEST
from silo_node.governance.approvals import Approvals, ApprovedLocally
from silo_node.governance.office import Desk, approved_by_officers
from silo_node.node import SiloNode
from silo_node.policy import Policy, load_policy
from silo_node.service.config import Places, SiloConfig
from silo_node.service.metrics import SiloMetrics
from silo_node.service.watched import Watched

_log = logging.getLogger(__name__)


class Service:
    """One hospital's node. Raises FedwardError, saying what to mend, before it answers anything."""

    def __init__(self, config: SiloConfig, where: Places) -> None:
        self._config, self._where = config, where
        place = PartyFolder(where.kit)
        self.name, roster = ready(place)
        _limit_threads(config.threads)
        self._policy = load_policy(where.policy)
        store = CohortStore.open(where.store)
        where.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        # The kit's folder is the node's home: its identity is the one that the roster holds.
        node = SiloNode(
            self.name,
            store,
            where.state,
            policy=self._policy,
            ledger=where.ledger,
            device=config.device,
            home=where.kit,
            approvals=approvals_of(self._policy, config, Desk(self.name, roster.consortium, where.governance, where.kit, None)),
        )
        node.pin(members_of(roster))
        self._consortium = roster.consortium
        self._node, self._place, self._stamp = node, place, place.roster.stat().st_mtime_ns
        self._inbox = NatsInbox(
            endpoint_of(place, self.name, config.proxy),
            place.open_identity(),
            self.name,
            bytes.fromhex(roster.aggregator.identity),
            consortium=roster.consortium,
            memory=where.state / "inbox.json",
        )
        self._metrics = SiloMetrics(self.name, lambda: self._inbox.connected, self._share_spent)
        self._handler = Watched(self.name, self._answer, self._metrics)

    def run(self) -> None:
        """Answer until SIGTERM or SIGINT; a second one ends at once, and nothing is lost by it.

        Raises TransportError if the broker refuses this silo for good.
        """
        page = HealthPage(self._config.health.port, self.readiness, self._metrics.page) if self._config.health.port else None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        _log.info("serving", extra={"event": "serving", "silo": self.name})
        try:
            self._inbox.serve(self._handler)
        finally:
            if page is not None:
                page.close()
        _log.info("stopped", extra={"event": "stopped", "silo": self.name})

    def readiness(self) -> Mapping[str, bool]:
        """What must hold for a request to be answered now."""
        return {
            "broker": self._inbox.connected,
            "store": (self._where.store / MANIFEST).exists(),
            "ledger": not self._where.ledger.exists() or os.access(self._where.ledger, os.R_OK | os.W_OK),
            "state": os.access(self._where.state, os.W_OK),
        }

    def _answer(self, request: bytes, /) -> bytes:
        """As the node does; for jobs that begin now, with the members of the newest kit that was installed."""
        stamp = self._place.roster.stat().st_mtime_ns
        if stamp != self._stamp:
            self._node.pin(members_of(ready(self._place)[1]))
            self._stamp = stamp
            _log.info("new roster", extra={"event": "new roster", "silo": self.name})
        if bytes(request[: len(PREFIX)]) == PREFIX:
            return self._courier(bytes(request))
        return self._node(request)

    def _courier(self, request: bytes) -> bytes:
        """Plans and answers of the officers' desk: encrypted files of the share, and the public mock; never of the cohort."""
        try:
            return encode(answer(Share(self._where.share), email_of(self.name, self._consortium), decode_ask(request)))
        except (FedwardError, OSError) as error:
            fields = {"event": "what the courier brought was not taken", "silo": self.name, "reason": str(error)}
            _log.warning("courier: %s", error, extra=fields)
            return b""

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        _log.info("stopping", extra={"event": "stopping", "silo": self.name, "signal": signal.Signals(number).name})
        self._inbox.stop()
        for again in (signal.SIGTERM, signal.SIGINT):
            signal.signal(again, signal.SIG_DFL)

    def _share_spent(self) -> float:
        return share_spent(self._where.ledger, self._policy)


def approvals_of(policy: Policy, config: SiloConfig, desk: Desk) -> Approvals:
    """Who approves plans here. Raises ApprovalError if nobody was named: no plan runs because a line was forgotten."""
    if policy.approval == "officers":
        return approved_by_officers(policy, desk)
    if "local" in (policy.approval, config.approval):
        _log.warning("approval is local", extra={"event": "every plan is approved locally", "silo": desk.hospital})
        return ApprovedLocally()
    raise ApprovalError(
        "nobody is named who approves plans. Write `approval: officers` and the officers' keys into the policy file "
        "(`fedward silo officer` prints them), or `approval: local` if whoever runs this node answers for every plan."
    )


def share_spent(ledger: Path, policy: Policy) -> float:
    """How much of the hospital's budget its patients have paid, 0 to 1 and more; NaN if the ledger cannot be read."""
    if not ledger.exists():
        return 0.0
    budget = Budget(policy.max_epsilon_per_study, policy.max_epsilon_total, policy.max_delta)
    try:
        return float(budget.share(by_job(Ledger.open(ledger).entries).values()))
    except FedwardError:
        return float("nan")


def members_of(roster: Roster) -> tuple[Member, ...]:
    """The silos of a roster as secure aggregation knows them, by name."""
    return tuple(Member(party.name, bytes.fromhex(party.identity)) for party in roster.active)


def _limit_threads(threads: int) -> None:
    if threads:
        import torch

        torch.set_num_threads(threads)
