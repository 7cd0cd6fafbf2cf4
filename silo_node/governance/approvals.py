"""Whether a plan may touch the cohort now. Asked at every request of a job, so a withdrawal stops the next round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from protocol.errors import ApprovalError
from protocol.governance.decisions import Decision
from protocol.governance.standing import Officers, Standing, standing, words_of
from silo_node.governance.log import DecisionLog

LOCAL = "local"
"""The approval of an operator who runs the plan on one machine, or answers for all plans that this node is given."""


class Approvals(Protocol):
    """Who approves plans at this hospital."""

    def require(self, plan_digest: str) -> str:
        """What receipts name: the digest of the decisions that approve the plan, or `local`. Raises ApprovalError."""
        ...


class ApprovedLocally:
    """The operator has approved every plan this node is given, and said so: `approval: local`, or by running it here."""

    def require(self, plan_digest: str) -> str:  # noqa: ARG002 -- every plan
        """`local`."""
        return LOCAL


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class ApprovedByOfficers:
    """The hospital's data officers approve plans, one by one."""

    hospital: str
    officers: Officers
    log: DecisionLog
    now: Callable[[], datetime] = field(default=_now)

    def require(self, plan_digest: str) -> str:
        """The digest of the decisions that approve the plan. Raises ApprovalError, without names: its text leaves."""
        found = self.standing(plan_digest)
        if found.status != "approved":
            raise ApprovalError(f"the plan is not approved at this hospital: {_SAYS[found.status]}")
        return found.approval

    def standing(self, plan_digest: str) -> Standing:
        """How the plan stands now. Raises ApprovalError if the decisions cannot be read."""
        return standing(self.log.decisions(), self.officers, self.hospital, plan_digest, self.now())

    def words(self, plan_digest: str) -> dict[str, Decision | None]:
        """The newest word of every officer of the policy on a plan, None of one who has said nothing. Raises ApprovalError."""
        found = words_of(self.log.decisions(), self.officers, self.hospital, plan_digest, self.now())
        return {name: found.get(name) for name in sorted(self.officers.keys)}


_SAYS = {
    "pending": "its data officers have not approved it yet.",
    "rejected": "its data officers rejected it.",
    "expired": "the approval has ended; its data officers can approve it again.",
    "withdrawn": "its data officers withdrew the approval.",
}
