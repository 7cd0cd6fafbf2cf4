"""Whether a plan can run in a consortium at all, asked before it waits: what every hospital would refuse is said here."""

from __future__ import annotations

from aggregator.consortium.office import Office
from fedward.promise import privacy_facts
from protocol.errors import InputError
from protocol.plan import Plan
from protocol.plan.federation import refuse_unnamed


def refuse_hopeless(plan: Plan, office: Office) -> None:
    """Raises PlanError if nobody could keep the plan's promise or it weighs other hospitals, InputError if too few belong."""
    members = [party.name for party in office.roster().active]
    if len(members) < plan.federation.quorum:
        raise InputError(
            f"{office.folder} has {len(members)} hospitals, the plan's quorum is {plan.federation.quorum}; "
            "take hospitals in with `fedward consortium add-silo`, or lower federation.quorum."
        )
    refuse_unnamed(plan.federation, members)
    privacy_facts(plan, None)
