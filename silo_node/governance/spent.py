"""What the cohort's patients have paid so far, and what the hospital's policy leaves them, in words."""

from __future__ import annotations

from pathlib import Path

from privacy.ledger import Ledger
from privacy.ledger.budget import Budget, by_job
from protocol.errors import FedwardError
from silo_node.policy import Policy


def spent_words(ledger: Path, policy: Policy) -> str:
    """One sentence for an officer."""
    limit = f"of the epsilon {policy.max_epsilon_total:g} at delta {policy.max_delta:g} that this hospital allows in all"
    if not ledger.exists():
        return f"Nothing yet {limit}."
    budget = Budget(policy.max_epsilon_per_study, policy.max_epsilon_total, policy.max_delta)
    try:
        studies = by_job(Ledger.open(ledger).entries)
        share = budget.share(studies.values())
    except FedwardError as error:
        return f"Unknown: {error}"
    return f"{share:.0%} {limit}, in {len(studies)} {'study' if len(studies) == 1 else 'studies'}."
