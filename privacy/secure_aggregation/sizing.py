"""What a plan's secure aggregation is made of: threshold, survivors, colluders, and a grid of integers that is wide enough.

Every party computes all of it from the plan and the number of silos; what the aggregator proposes has to be equal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from privacy.clipping import SCALE_BITS
from privacy.secure_aggregation.fixed_point import check_width
from privacy.secure_aggregation.manifest import MAX_SILOS, MIN_SILOS, default_colluders, least_threshold
from protocol.errors import PlanError
from protocol.plan import Plan
from protocol.plan.privacy import DistributedPrivacy
from protocol.secure_aggregation import Manifest

_MOST_SCALE_BITS = 30
COUNTED = ("samples", "positives", "q_ffl")  # weightings whose weight is one more masked value


@dataclass(frozen=True)
class Sizing:
    """For n silos: t of them open a mask, U must be in the sum, c may collude; values are steps of 2^-scale_bits."""

    threshold: int
    min_survivors: int
    colluders: int
    width_bits: int
    scale_bits: int
    bound: float
    """Largest absolute value of a coordinate; larger ones are clipped."""

    def parameters(self) -> dict[str, Any]:
        """What goes into the manifest besides its own fields."""
        return {"scale_bits": self.scale_bits, "bound": self.bound}


def sizing(plan: Plan, n_silos: int) -> Sizing:
    """Raises PlanError if so many silos cannot aggregate securely under `plan`."""
    if not MIN_SILOS <= n_silos <= MAX_SILOS:
        raise PlanError(
            f"privacy.secure_aggregation: {n_silos} hospitals; a sum hides a hospital only among {MIN_SILOS} to {MAX_SILOS}. "
            "Add hospitals, or set it to false: then the aggregator reads each update."
        )
    threshold = least_threshold(n_silos)
    privacy = plan.privacy
    if isinstance(privacy, DistributedPrivacy):
        _check_distributed(privacy, n_silos)
        survivors, colluders = max(threshold, plan.federation.quorum), default_colluders(n_silos)
        return Sizing(threshold, survivors, colluders, privacy.width_bits, SCALE_BITS, privacy.clip_norm)
    _check_weights(plan, n_silos)
    scale_bits = _scale_bits(n_silos, privacy.update_bound, privacy.width_bits)
    check_width(n_silos, privacy.update_bound, scale_bits, privacy.width_bits)
    return Sizing(
        threshold=threshold,
        min_survivors=max(threshold, plan.federation.quorum),
        colluders=default_colluders(n_silos),
        width_bits=privacy.width_bits,
        scale_bits=scale_bits,
        bound=privacy.update_bound,
    )


def noise_share(noise_multiplier: float, manifest: Manifest) -> float:
    """Standard deviation of one hospital's noise, in clip norms: U - c honest shares in the sum make up the whole.

    The sum of discrete Gaussians of so large a scale is one, up to far less than delta (Kairouz, Liu, Steinke 2021, thm 1).
    """
    return noise_multiplier / math.sqrt(manifest.min_survivors - manifest.colluders)


def _check_distributed(privacy: DistributedPrivacy, n_silos: int) -> None:
    """Raises PlanError if a sum of four times the usual number of patients, all agreeing in one value, could wrap around."""
    room = 2.0 ** (privacy.width_bits - 1 - SCALE_BITS)
    if 4.0 * n_silos * privacy.batch_patients > room:
        raise PlanError(
            f"privacy.width_bits: {n_silos} hospitals x {privacy.batch_patients} patients x 4 x 2^{SCALE_BITS} do not fit into "
            f"{privacy.width_bits} bits; take 64."
        )


def _check_weights(plan: Plan, n_silos: int) -> None:
    """Raises PlanError if the sum of the weights themselves, one of the masked values, could wrap around."""
    bound, room = plan.federation.weight_bound, 2 ** (plan.privacy.width_bits - 1) - 1
    if plan.federation.weighting in COUNTED and n_silos * bound > room:
        raise PlanError(
            f"federation.weight_bound: {n_silos} hospitals x {bound} do not fit into {plan.privacy.width_bits} bits; lower it "
            f"to {room // n_silos}, or raise privacy.width_bits."
        )


def _scale_bits(n_silos: int, bound: float, width_bits: int) -> int:
    """The finest grid on which the sum of n values within the bound cannot wrap around."""
    room = 2 ** (width_bits - 1) - 1
    bits = math.floor(math.log2(room / (n_silos * bound)))
    if bits < 0:
        raise PlanError(
            f"privacy.update_bound: {n_silos} hospitals x {bound:g} do not fit into {width_bits} bits; lower it, or raise "
            "width_bits."
        )
    return min(bits, _MOST_SCALE_BITS)


def overflow_proof(plan: Plan, n_silos: int) -> Mapping[str, Any]:
    """The arithmetic of `sizing` for people: the largest sum, what the width holds, and the size of one step."""
    wanted = sizing(plan, n_silos)
    largest = n_silos * math.ceil(wanted.bound * 2**wanted.scale_bits)
    if isinstance(plan.privacy, DistributedPrivacy):  # in clip norms, four times the usual number of patients all agreeing
        largest = n_silos * plan.privacy.batch_patients * 4 * 2**SCALE_BITS
    if plan.federation.weighting in COUNTED:  # the weights are one of the sums
        largest = max(largest, n_silos * plan.federation.weight_bound)
    return {
        "silos": n_silos,
        "largest_sum": largest,
        "room": 2 ** (wanted.width_bits - 1) - 1,
        "step": 2.0**-wanted.scale_bits,
        "threshold": wanted.threshold,
        "min_survivors": wanted.min_survivors,
        "colluders": wanted.colluders,
        "width_bits": wanted.width_bits,
    }
