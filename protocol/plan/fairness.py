"""Weights that grow where the model serves a hospital badly: pure arithmetic that silos and the aggregator share.

q_ffl
    Li, Sanjabi, Beirami & Smith, Fair resource allocation in federated learning, ICLR 2020: a hospital weighs by its own loss
    under the model it received, to the power q. It is that paper's direction and not its step: with updates d_k, q-FedAvg
    divides sum_k F_k^q L d_k by sum_k (q F_k^(q-1) |L d_k|^2 + L F_k^q). Here it is a weighted mean, divided by the sum of the
    weights alone, so q = 0 is `uniform` and a step is never longer than the longest update.
worst_site
    Mohri, Sivek & Suresh, Agnostic federated learning, ICML 2019: ascend on the simplex of the hospitals' weights while the
    model descends. Theirs is a projected gradient, here it is multiplicative (Freund & Schapire 1997), then mixed with
    equal weights, so that nobody falls below the floor.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING

from protocol.errors import TrainingError

if TYPE_CHECKING:
    from protocol.plan.federation import Federation

_USED_BY = {
    "fairness_q": ("q_ffl",),
    "fairness_loss_bound": ("q_ffl", "worst_site"),
    "fairness_measure": ("worst_site",),
    "fairness_rate": ("worst_site",),
    "fairness_floor": ("worst_site",),
}


def unused(federation: Federation) -> str | None:
    """Which key about fairness the weighting does not look at, though it is not at its default; or what it lacks."""
    for key, users in _USED_BY.items():
        default = type(federation).model_fields[key].default
        if federation.weighting not in users and getattr(federation, key) != default:
            return f"{key}: weighting {federation.weighting} has no use for it; leave it out, or set weighting to {users[0]}"
    if federation.weighting == "q_ffl" and federation.fairness_q is None:
        return "fairness_q: weighting q_ffl needs it; 0 weighs equally, 1 is a usual beginning, more favours high losses more"
    return None


def loss_steps(federation: Federation, loss: float) -> int:
    """q_ffl: the weight of a hospital with this loss, 1 to `weight_bound` steps. Raises TrainingError for a loss without size.

    (loss / fairness_loss_bound)^q, a loss beyond the bound counting as it. Never 0: a hospital is not dropped for being served
    well. Half a step is the most that rounding moves a weight.
    """
    if not math.isfinite(loss):
        raise TrainingError(f"the loss of the model that came is {loss}; nothing can be weighed by it.")
    share: float = min(max(loss, 0.0) / federation.fairness_loss_bound, 1.0) ** (federation.fairness_q or 0.0)
    return max(1, min(federation.weight_bound, round(share * federation.weight_bound)))


def ascend(federation: Federation, weights: Mapping[str, float], badness: Mapping[str, float | None]) -> dict[str, float]:
    """worst_site: the weights (summing to 1) after one validation; `badness` is 1 - AUROC or a loss, None where unknown.

    A hospital of which nothing is known moves with the mean: it neither gains nor loses for having no patients to validate on.
    """
    known = {silo: bad for silo, bad in badness.items() if bad is not None and silo in weights}
    if not known:
        return dict(weights)
    mass = sum(weights[silo] for silo in sorted(known))
    mean = sum(weights[silo] * known[silo] for silo in sorted(known)) / mass
    exponents = {silo: federation.fairness_rate * (known.get(silo, mean) - mean) for silo in weights}
    top = max(exponents.values())
    raised = {silo: weights[silo] * math.exp(exponents[silo] - top) for silo in weights}
    whole, floor = sum(raised[silo] for silo in sorted(raised)), federation.fairness_floor
    return {silo: (1.0 - floor) * one / whole + floor / len(raised) for silo, one in raised.items()}


def shares(weights: Mapping[str, float]) -> dict[str, float]:
    """Each weight over the largest, in (0, 1], as the float32 that both sides calculate with."""
    most = max(weights.values())
    return {silo: _float32(weight / most) for silo, weight in weights.items()}


def least_share(federation: Federation, n_silos: int) -> float:
    """The smallest share that `shares` of `ascend` can give among `n_silos`: floor/n over what is left for one.

    A silo refuses less: shares near 0 for all but one hospital would make the masked sum that hospital's update.
    """
    low = federation.fairness_floor / n_silos
    return _float32(low / (1.0 - (n_silos - 1) * low)) * (1.0 - 1e-6)


def _float32(value: float) -> float:
    (rounded,) = struct.unpack("<f", struct.pack("<f", value))
    return float(rounded)
