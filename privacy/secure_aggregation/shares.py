"""What every hospital's update weighs under worst_site, as the manifest says it: all silos sign the same numbers.

They are public, follow from validations that left anyway, and change from round to round, so they cannot stand in the plan. A
silo cannot recompute them; it can refuse those that no validation could have led to. Above all shares near 0 for all but one
hospital: the masked sum would be that hospital's update.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from protocol.errors import AggregationError
from protocol.plan import Plan
from protocol.plan.fairness import least_share
from protocol.secure_aggregation import Manifest

SHARES = "shares"


def in_manifest(plan: Plan, purpose_is_update: bool, shares: Mapping[str, float] | None) -> dict[str, Any]:
    """What a manifest of this purpose says of shares: nothing, unless the plan's weights follow validations."""
    if plan.federation.weighting != "worst_site" or not purpose_is_update:
        return {}
    return {SHARES: dict(shares or {})}


def checked(plan: Plan, shown: Manifest) -> dict[str, float]:
    """The shares of a manifest a silo is shown. Raises AggregationError unless they could have come from `ascend`."""
    told, names = shown.parameters.get(SHARES), {member.name for member in shown.roster}
    if not isinstance(told, dict) or told.keys() != names or not all(type(one) in (int, float) for one in told.values()):
        raise AggregationError("the manifest was refused: it does not say what each silo's update weighs. Nothing was sent.")
    least, lowest = least_share(plan.federation, len(names)), min(told.values())
    if max(told.values()) != 1.0 or not lowest >= least:
        raise AggregationError(
            f"the manifest was refused: its shares reach from {lowest:g} to {max(told.values()):g}, where "
            f"federation.fairness_floor allows {least:.4g} to 1. Nothing was sent."
        )
    return {silo: float(one) for silo, one in told.items()}


def share_of(manifest: Manifest, silo: str) -> float | None:
    """What the update of `silo` weighs in this attempt, over the largest; None where the manifest does not say."""
    told = manifest.parameters.get(SHARES)
    return float(told[silo]) if isinstance(told, dict) and silo in told else None
