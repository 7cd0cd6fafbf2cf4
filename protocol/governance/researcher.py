"""A researcher's side: look at the hospitals' cohorts, hand plans over, see what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from protocol.errors import TransportError, TrustError
from protocol.governance.bounds import INBOX
from protocol.governance.pins import email_of, find_pins, introduce, name_of
from protocol.governance.pysyft.share import Share
from protocol.governance.submission import pack
from protocol.identity import Identity
from protocol.plan import Plan

if TYPE_CHECKING:
    from protocol.governance.pysyft.plane import Plane
    from protocol.governance.pysyft.records import Answer, PublishedCohort


@dataclass(frozen=True)
class Researcher:
    """`name` as the hospitals' policies have it; `hospitals`: their identities (Ed25519 public keys), from the roster."""

    name: str
    consortium: str
    identity: Identity
    folder: Path
    share: Path
    hospitals: Mapping[str, bytes]

    def cohorts(self) -> tuple[PublishedCohort, ...]:
        """What hospitals show us."""
        return self._plane().cohorts()

    def ask_for_contact(self) -> tuple[str, ...]:
        """Ask every hospital that has introduced itself to let us in. Returns their names."""
        plane = self._plane()
        there = [email for email in self._emails() if email in self._pins()]
        for email in there:
            plane.ask_for_contact(email)
        return tuple(name_of(email) for email in there)

    def submit(self, plan: Plan, hospital: str, *, cohort: str = "", note: str = "") -> bool:
        """Hand `plan` over, signed. False if it was before. Raises TrustError if the hospital's key is not the pinned one."""
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        job = f"{plan.name}-{plan.digest.removeprefix('sha256:')[:12]}"
        files = pack(plan, self.identity, researcher=self.name, hospital=hospital, cohort=cohort, note=note, at=at)
        if email_of(hospital, self.consortium) not in self._pins():
            raise TrustError(f"{hospital} has not been on the share yet; ask its data officers to look, and try again later.")
        if (waiting := self.waiting().get(hospital, 0)) >= INBOX.files:
            raise TransportError(
                f"{waiting} messages of yours wait at {hospital} and were not taken up; wait until its data officers look. If "
                "they did, it keeps no more of one researcher: ask them (docs/governance.md)."
            )
        return self._plane().submit(email_of(hospital, self.consortium), job, files)

    def waiting(self) -> dict[str, int]:
        """How many of our messages each hospital has not taken up yet; those that have none are left out."""
        share, own = Share(self.share), email_of(self.name, self.consortium)
        inboxes = {name: share.at("p2p", email_of(name, self.consortium), "inbox", own) for name in self.hospitals}
        return {name: number for name, folder in inboxes.items() if (number := len(share.names(folder)))}

    def answers(self) -> tuple[Answer, ...]:
        """What became of every plan that was handed over."""
        return self._plane().answers()

    def _plane(self) -> Plane:
        from protocol.governance.pysyft.plane import Plane

        email = email_of(self.name, self.consortium)
        plane = Plane(email, self.folder / "pysyft", self.share, "researcher", self._pins())
        introduce(self.share, email, self.identity, plane.fingerprint)
        return plane

    def _pins(self) -> dict[str, str]:
        return find_pins(self.share, self._emails())

    def _emails(self) -> dict[str, bytes]:
        return {email_of(name, self.consortium): key for name, key in self.hospitals.items()}
