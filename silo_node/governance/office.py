"""The data officers' desk at a hospital: what was handed over, how it stands, and their word on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from protocol.errors import ApprovalError
from protocol.governance.decisions import Decision, Verdict, decide
from protocol.governance.pins import email_of, find_pins, introduce
from protocol.governance.pysyft.share import Share
from protocol.governance.reports import get_report
from protocol.governance.standing import Officers, Standing
from protocol.identity import Identity
from protocol.service_leftovers import Leftover
from silo_node.governance.approvals import ApprovedByOfficers
from silo_node.governance.difference import Change, difference
from silo_node.governance.exchange import Exchange
from silo_node.governance.log import DecisionLog
from silo_node.governance.program import require_read
from silo_node.governance.requests import Request, RequestBook
from silo_node.governance.tidy import old_messages, old_rejections
from silo_node.policy import Policy

if TYPE_CHECKING:
    from protocol.governance.pysyft.plane import Plane


@dataclass(frozen=True)
class Desk:
    """Where a hospital's governance lies. `folder` holds requests, decisions and the PySyft keys; `home` is the kit's folder.

    `share` is the folder that researchers reach too, None without one.
    """

    hospital: str
    consortium: str
    folder: Path
    home: Path
    share: Path | None


def _utc() -> datetime:
    return datetime.now(UTC)


def approved_by_officers(policy: Policy, desk: Desk, now: Callable[[], datetime] = _utc) -> ApprovedByOfficers:
    """The officers of `policy` and their decisions at this desk. Raises ApprovalError if the policy names none."""
    if policy.approval != "officers":
        raise ApprovalError("this hospital's policy does not say approval: officers, so nobody can approve plans one by one.")
    keys = {name: bytes.fromhex(key) for name, key in policy.officers.items()}
    log = DecisionLog(desk.folder / "decisions.jsonl", desk.home / "decisions.json")
    return ApprovedByOfficers(desk.hospital, Officers(keys, policy.officers_needed), log, now)


class Office:
    """What an officer can do. Everything that is decided is signed by the officer's own key and kept for good."""

    def __init__(self, policy: Policy, desk: Desk, *, now: Callable[[], datetime] = _utc) -> None:
        self._policy, self._desk, self._now = policy, desk, now
        self.approvals = approved_by_officers(policy, desk, now)
        self._researchers = {name: bytes.fromhex(key) for name, key in policy.researchers.items()}
        self._book = RequestBook(desk.folder / "requests", desk.hospital, self._researchers)

    # ------------------------------------------------------------------------------------------------------------ looking

    def requests(self) -> tuple[tuple[Request, Standing], ...]:
        """Every plan that was handed over, the newest first, and how it stands."""
        return tuple((one, self.approvals.standing(one.digest)) for one in self._book.all())

    def find(self, text: str) -> Request:
        """As RequestBook.find."""
        return self._book.find(text)

    def since_last_approval(self, request: Request) -> tuple[str, tuple[Change, ...]] | None:
        """What differs from the plan of the same name that was approved last: its digest, and the changes. None if none was."""
        plans = {one.digest: one.handed_over.plan for one in self._book.all()}
        name = request.handed_over.plan.name
        for decision in reversed(self.approvals.log.decisions()):
            other = plans.get(decision.plan_digest)
            if decision.verdict == "approve" and other is not None and other.name == name and other.digest != request.digest:
                return other.digest, difference(other, request.handed_over.plan)
        return None

    # ----------------------------------------------------------------------------------------------------------- deciding

    def decide(
        self, request: Request, verdict: Verdict, officer: str, identity: Identity, reason: str, *, code: str = ""
    ) -> Standing:
        """Sign and keep a decision. `code`: of a plan with a program of its own, the digest of the program that was read.

        Raises ApprovalError if `identity` is not that of the officer the policy names, or it is not the program of `code`, and
        PolicyError to approve a program where the policy lets none run.
        """
        known = self._policy.officers.get(officer)
        if known is None or known != identity.public_key.hex():
            raise ApprovalError(
                f"{officer} with this key is no data officer of this hospital; `officers` in its policy file names them."
            )
        if verdict == "approve":
            self._policy.admit_code(request.handed_over.plan)  # the node would refuse every round of what was approved
            require_read(request.handed_over.plan, code)
        at = self._now().replace(microsecond=0)
        expires = at + timedelta(days=self._policy.approval_days) if verdict == "approve" else None

        def make(previous: str) -> Decision:
            return decide(
                officer,
                identity,
                verdict,
                hospital=self._desk.hospital,
                plan_digest=request.digest,
                reason=reason,
                previous=previous,
                at=at,
                expires=expires,
            )

        self.approvals.log.add(make)
        return self.approvals.standing(request.digest)

    # ------------------------------------------------------------------------------------------------------------ sharing

    def sync(self, identity: Identity) -> tuple[str, ...]:
        """Take up what researchers handed over, and tell them how their plans stand. Returns what could not be used, in words.

        `identity` is the hospital's own: it signs which PySyft key is ours.
        """
        problems: list[str] = []
        pins = self._pins(problems)
        return Exchange(self._plane(identity, pins), self._book, self.approvals.standing, self._report, problems).run(
            sorted(pins)
        )

    def publish(self, identity: Identity, name: str, mock: Path, manifest: Path, summary: str) -> None:
        """Show a cohort to the researchers of the policy: `mock` is for them, `manifest` stays here.

        Who has not introduced themselves yet sees it once they have. Raises TrustError, publishing nothing, if an introduction
        was not signed by the one whose it should be.
        """
        pins = self._pins()
        self._plane(identity, pins).publish(name, mock, manifest, summary, sorted(pins))

    def return_results(self, identity: Identity, request: Request, files: list[Path]) -> None:
        """Give the researcher the results of an approved plan."""
        read = {path.name: path.read_bytes() for path in files}
        self._plane(identity, self._pins()).return_results(request.job, read, request.sender)

    def leftovers(self, older_than_days: float) -> tuple[Leftover, ...]:
        """What can go (silo_node.governance.tidy). Raises ApprovalError if the decisions cannot be read."""
        now = self._now().timestamp()
        messages = () if self._desk.share is None else (Share(self._desk.share), self._email(self._desk.hospital))
        old = tuple(old_messages(*messages, older_than_days, now)) if messages else ()
        return (*old, *old_rejections(self._book, self.approvals, older_than_days, now))

    def _report(self, digest: str) -> dict[str, bytes]:
        """The report of the plan's finished job, as the aggregator wrote it; empty before there is one. Raises TrustError."""
        if self._desk.share is None:
            return {}
        return get_report(Share(self._desk.share), self._email(self._desk.hospital), digest)

    def _plane(self, identity: Identity, pins: Mapping[str, str]) -> Plane:
        from protocol.governance.pysyft.plane import Plane

        email, share = self._email(self._desk.hospital), self._share()
        plane = Plane(email, self._desk.folder / "pysyft", share, "hospital", pins)
        introduce(share, email, identity, plane.fingerprint)
        return plane

    def _pins(self, problems: list[str] | None = None) -> dict[str, str]:
        return find_pins(self._share(), {self._email(name): key for name, key in self._researchers.items()}, problems)

    def _share(self) -> Path:
        if self._desk.share is None:
            raise ApprovalError("the hospital's configuration names no share; set it to the folder that researchers reach too.")
        return self._desk.share

    def _email(self, name: str) -> str:
        return email_of(name, self._desk.consortium)
