"""What this silo's cohort may still spend: its ledger, the hospital's budget, and the receipts that prove the ledger's head."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from privacy.guarantee import Guarantee
from privacy.ledger import Budget, Ledger, refuse_if_over
from protocol.errors import LedgerError, SiloError
from protocol.identity import Identity
from protocol.messages import Receipt
from protocol.plan import Plan
from protocol.plan.privacy import PatientPrivacy
from silo_node.charges import Charge
from silo_node.policy import Policy
from silo_node.receipts import Receipts


class Account:
    """The ledger in `path` of the cohort named `cohort`. Opened at the first use, so that open plans leave no ledger behind."""

    def __init__(self, path: Path, cohort: str, identity: Identity, receipt: Path, policy: Policy) -> None:
        self._path, self._cohort = path, cohort
        self._receipts = Receipts(identity, cohort, receipt)
        self._budget = Budget(policy.max_epsilon_per_study, policy.max_epsilon_total, policy.max_delta)
        self._opened: Ledger | None = None

    def refuse_rollback(self, presented: Iterable[Receipt]) -> None:
        """Raises LedgerRolledBackError if the ledger lacks charges that this silo once signed for."""
        heads = self._receipts.heads(presented)
        if not heads:
            return
        if not self._path.exists():
            raise LedgerError(
                f"{self._path.name} is gone, and this silo has signed for charges in it. Restore it from your backup; without "
                "it the budget of this cohort counts as spent. Only if this is another cohort, of other patients, in the same "
                f"place: delete the silo's {self._receipts.path.parent.name}/{self._receipts.path.name}."
            )
        self._ledger.refresh()
        self._ledger.expect(heads)

    def admit(self, job: str, guarantee: Guarantee) -> None:
        """Raises BudgetError if the whole study does not fit into what is left of the budget."""
        begun = any(entry.job == job for entry in self._ledger.entries)
        if not begun:  # of a study that has begun, each release is checked when it comes
            refuse_if_over(self._ledger, self._budget, job, {part: [event] for part, event in guarantee.events.items()})

    def paid(self, job: str, charge: Charge) -> bool:
        """Whether the ledger holds this charge."""
        return self._ledger.charged(job, charge.release) is not None

    def rounds_paid(self, job: str) -> int:
        """How many updates of `job` the ledger was charged for."""
        return sum(entry.job == job and entry.part == "train" for entry in self._ledger.entries)

    def charge(self, plan: Plan, job: str, charge: Charge) -> None:
        """Charge, durably. Raises BudgetError, LedgerError, and SiloError if it was charged before: pay once, draw once."""
        if not isinstance(plan.privacy, PatientPrivacy):
            raise LedgerError("a plan without privacy has nothing to charge.")
        made = self._ledger.charge(
            study=plan.name,
            plan=plan.digest,
            job=job,
            release=charge.release,
            part=charge.part,
            event=charge.event,
            delta=plan.privacy.delta,
            budget=self._budget,
        )
        if not made.fresh:
            raise SiloError(f"{charge.release} was charged by another process of this silo; it alone answers.")

    def receipt(self) -> Receipt:
        """Signed for the ledger as it is now."""
        return self._receipts.issue(self._ledger.head)

    @property
    def _ledger(self) -> Ledger:
        if self._opened is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._opened = Ledger.open(self._path) if _begun(self._path) else Ledger.create(self._path, self._cohort)
            self._opened.expect(self._receipts.heads(()))
        if self._opened.cohort != self._cohort:
            raise LedgerError(f"{self._path.name} is the ledger of another cohort, {self._opened.cohort}.")
        return self._opened


def _begun(path: Path) -> bool:
    """Whether there is a ledger: its first line is whole. A file without one was left by a process that died making it."""
    try:
        with path.open("rb") as file:
            return b"\n" in file.read(1 << 16)
    except FileNotFoundError:
        return False
