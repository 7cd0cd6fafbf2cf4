"""What a silo puts into the masked vector and what the aggregator reads from the sum: a weighted mean without single weights.

`uniform`: the update. `declared` and `worst_site`: the update times its public weight over the largest; who divides knows the
weights. `samples`, `positives` and `q_ffl`: the update times n / weight_bound, and n itself - a count, or steps of loss^q - as
one more value, so that sum of products and sum of weights come out together and no hospital's n alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from privacy.clipping import SCALE_BITS
from privacy.secure_aggregation.fixed_point import dequantise, quantise
from privacy.secure_aggregation.masking import Unsigned, dtype_of
from privacy.secure_aggregation.sizing import COUNTED, Sizing, sizing
from protocol.errors import AggregationError
from protocol.plan import Plan
from protocol.plan.federation import declared_share
from protocol.plan.privacy import DistributedPrivacy
from protocol.rounding import Rounding
from protocol.seeds import derive_seed

Vector = npt.NDArray[np.float32]


def wrapped(integers: npt.NDArray[np.int64], width_bits: int) -> Unsigned:
    """Integers modulo 2^width_bits, shape unchanged. Unlike cutting, wrapping commutes with the sum, so it costs no privacy."""
    unsigned: Unsigned = integers.astype(dtype_of(width_bits))
    return unsigned


def payload_size(plan: Plan, size: int) -> int:
    """Number of values that are masked for an update of `size` values."""
    return size + (plan.federation.weighting in COUNTED)


def payload(
    plan: Plan, wanted: Sizing, update: Vector, weight: int, silo: str, number: int, share: float | None = None
) -> Unsigned:
    """The integers of the update of `silo` in round `number`, shape (payload_size,).

    `weight` is its number of images, or its steps under q_ffl, used where they are counted; `share` its part under worst_site,
    in (0, 1], which all silos of the attempt agreed on. Raises PrivacyError for NaN or infinity.
    """
    federation, rounding = plan.federation, _rounding(plan, wanted, silo, number)
    if federation.weighting == "declared":
        update = update * np.float32(declared_share(federation, silo))
    if federation.weighting == "worst_site":
        if share is None:
            raise AggregationError("nobody said what this silo's update weighs in this round; nothing was sent.")
        update = update * np.float32(share)
    if federation.weighting not in COUNTED:
        return quantise(update, wanted.scale_bits, wanted.bound, wanted.width_bits, rounding)
    counted = min(weight, federation.weight_bound)
    scaled = update * np.float32(counted / federation.weight_bound)
    integers = quantise(np.append(scaled, np.float32(0.0)), wanted.scale_bits, wanted.bound, wanted.width_bits, rounding)
    integers[-1] = counted
    return integers


def _rounding(plan: Plan, wanted: Sizing, silo: str, number: int) -> Rounding | None:
    """How values become integers: at 16 bits stochastically, else to the nearest, whose steps are far finer than an update.

    A function of silo and round, not of the attempt: one update that was rounded in two ways for two sums would be known better
    for it, and a job that was killed could not go on bit by bit. Noise, if any, was added before.
    """
    return Rounding(derive_seed(plan.seed, "rounding", silo, number)) if wanted.width_bits == 16 else None


def mean_of(
    plan: Plan,
    opened: npt.NDArray[np.signedinteger[Any]],
    survivors: Sequence[str],
    n_silos: int,
    lr_factor: float,
    shares: Mapping[str, float] | None = None,
) -> tuple[Vector, dict[str, float]]:
    """The mean update of the survivors, and their weights as far as the aggregator knows them (none if they were masked).

    `lr_factor` is the round's learning rate as a fraction of the plan's: under mechanism distributed the step is made here.
    `shares`: what the silos agreed on under worst_site.
    Raises AggregationError if all weights were zero.
    """
    wanted = sizing(plan, n_silos)
    if isinstance(plan.privacy, DistributedPrivacy):
        # The mean over hospitals of what each would have stepped: -lr * C * sum / (2^20 * batch_patients).
        step = plan.training.optimizer.lr * lr_factor * plan.privacy.clip_norm / plan.privacy.batch_patients
        return dequantise(opened, SCALE_BITS, len(survivors)) * np.float32(-step), dict.fromkeys(survivors, 1.0)
    if plan.federation.weighting == "uniform":
        return dequantise(opened, wanted.scale_bits, len(survivors)), dict.fromkeys(survivors, 1.0)
    if plan.federation.weighting == "declared":
        whole = sum(declared_share(plan.federation, silo) for silo in survivors)
        weights = {silo: plan.federation.declared_weights[silo] for silo in survivors}
        return dequantise(opened, wanted.scale_bits, whole), weights
    if plan.federation.weighting == "worst_site":
        weights = {silo: (shares or {})[silo] for silo in survivors}
        return dequantise(opened, wanted.scale_bits, sum(weights.values())), weights
    total = int(opened[-1])
    if total <= 0:
        raise AggregationError("all weights are zero: no silo has an image that federation.weighting counts.")
    return dequantise(opened[:-1], wanted.scale_bits, total / plan.federation.weight_bound), {}
