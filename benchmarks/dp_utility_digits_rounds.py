"""The private rounds that dp_utility_digits.py measures, made of fedward's own parts, in both of its arrangements."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from dp_utility_digits_hospitals import CLASSES, SIZE, Images, first_weights, gradients

from aggregator.mean import WeightedMean
from aggregator.strategies import State, build_strategy
from privacy.clipping import SCALE, PatientSum
from privacy.noise import discrete_gaussian
from privacy.randomness import SecureBits, sample_patients
from privacy.secure_aggregation.masking import Unsigned, dtype_of
from privacy.secure_aggregation.payload import mean_of, wrapped
from privacy.secure_aggregation.sizing import noise_share, sizing
from protocol.plan import Plan
from protocol.secure_aggregation import SCHEMA, Manifest
from protocol.vectors import Vector
from silo_node.training.objective import proximal_step
from silo_node.training.optimiser import build_optimiser

DELTA, CLIP_NORM = 1e-5, 1.0
SIMULATED, FEDWARD = "simulated", "fedward"


@dataclass(frozen=True)
class Row:
    """One way to spend epsilon."""

    name: str
    arrangements: tuple[str, ...]
    rates: tuple[float, ...]
    local_steps: int = 1
    mu: float = 0.0
    sampling_rate: float = 0.1
    steps: int = 300

    @property
    def mechanism(self) -> str:
        """local or distributed."""
        return self.name.split(",")[0]

    @property
    def simulated(self) -> bool:
        """Whether it is what the simulation did and fedward does not."""
        return FEDWARD not in self.arrangements


def plan_of(row: Row, silos: int, epsilon: float, rate: float, patients: int) -> Plan:
    """The plan whose noise, sizes and steps are used. Its network is not: no plan can name one so small."""
    server = {"name": "FedProx" if row.mu else "FedAvg"} if row.local_steps > 1 else {"name": "FedAvgM", "momentum": 0.9}
    everybody, rounds = row.sampling_rate == 1.0, row.steps // row.local_steps
    privacy = {
        "mechanism": row.mechanism,
        "epsilon": epsilon,
        "delta": DELTA,
        "clip_norm": CLIP_NORM,
        "sampling": "full" if everybody else "poisson",
        "sampling_rate": row.sampling_rate,
        "batch_patients": round(row.sampling_rate * patients / silos),
        "metrics_epsilon": min(0.3, epsilon / 2.0),
        "width_bits": 64 if everybody else 32,  # 1,437 patients who all agree do not fit into 32 bits
    }
    value = {
        "schema": "fedward.plan/1",
        "name": "digits",
        "task": {"kind": "classification", "target": "digit", "classes": [str(digit) for digit in range(CLASSES)]},
        "data": {
            "channels": 1,
            "preprocessing": [
                {"name": "Resize", "args": {"spatial_size": [8, 8]}},
                {"name": "NormalizeIntensity", "args": {"subtrahend": 0.0, "divisor": 1.0}},
            ],
        },
        "network": {"name": "Classifier", "args": {"in_shape": [1, 8, 8], "classes": CLASSES, "channels": [4], "strides": [2]}},
        "training": {"mu": row.mu, "local_steps": row.local_steps, "optimizer": {"name": "SGD", "lr": rate, "momentum": 0.0}},
        "federation": {
            "rounds": rounds,
            "strategy": server,
            "weighting": "uniform",
            "quorum": silos,
            "average_last": max(1, rounds // 10),
        },
        "evaluation": {"alone": False, "every": rounds},
        "privacy": privacy,
    }
    return Plan.model_validate_json(json.dumps(value))


def share_of(row: Row, plan: Plan, noise: float, silos: int) -> float:
    """Standard deviation of one hospital's noise under mechanism distributed, in clip norms."""
    if row.simulated:
        return noise / silos**0.5
    wanted = sizing(plan, silos)
    needed = (wanted.threshold, wanted.min_survivors, wanted.colluders, SIZE, wanted.width_bits)
    return noise_share(noise, Manifest(SCHEMA, plan.name, plan.digest, (), *needed))


def clipped(plan: Plan, weights: torch.Tensor, site: Images, bits: SecureBits) -> PatientSum:
    """A Poisson sample of one hospital's patients, each clipped: as PrivateStep.sum."""
    total = PatientSum(SIZE, plan.privacy.clip_norm)
    for gradient in gradients(weights, site[torch.from_numpy(sample_patients(len(site), plan.privacy.rate, bits))]):
        total.add([gradient])
    return total


def opened_sum(plan: Plan, share: float, model: Vector, sites: Sequence[Images], bits: SecureBits) -> Any:
    """What secure aggregation opens, signed, shape (SIZE,): each hospital's clipped sum and its share of the noise."""
    width, weights = plan.privacy.width_bits, torch.from_numpy(model)
    total: Unsigned = np.zeros(SIZE, dtype=dtype_of(width))
    for site in sites:
        integers = clipped(plan, weights, site, bits).integers()
        integers += discrete_gaussian(SIZE, share * SCALE, bits)
        total += wrapped(integers, width)
    return total.view(f"<i{width // 8}")


def local_update(plan: Plan, noise: float, divisor: float, model: Vector, site: Images, bits: SecureBits) -> Vector:
    """What one hospital sends under mechanism local: its private steps of one round, as PrivateTrainer.round makes them."""
    weights = torch.nn.Parameter(torch.from_numpy(model.copy()))
    anchor, training = [torch.from_numpy(model)], plan.training
    optimiser = build_optimiser(training.optimizer, [weights], 1.0)
    for _ in range(training.local_steps or 1):
        weights.grad = clipped(plan, weights.detach(), site, bits).noised(noise, bits) / divisor
        optimiser.step()
        if training.mu > 0.0:
            proximal_step([weights], anchor, training.mu * training.optimizer.lr)
    update: Vector = weights.detach().numpy() - model
    return update


def train(row: Row, plan: Plan, noise: float, sites: Sequence[Images], seed: int) -> Vector:
    """The mean of the last global models of a whole job, shape (SIZE,)."""
    bits, strategy, model = SecureBits(), build_strategy(plan.federation.strategy), first_weights(seed)
    state: State = {}
    names, last, privacy = [str(number) for number in range(len(sites))], WeightedMean(SIZE), plan.privacy
    share = share_of(row, plan, noise, len(sites)) if row.mechanism == "distributed" else 0.0
    for number in range(plan.federation.rounds):
        if row.mechanism == "distributed":
            opened = opened_sum(plan, share, model, sites, bits)
            update, _ = mean_of(plan, opened, names, len(sites), 1.0)
        else:
            mean = WeightedMean(SIZE)
            for site in sites:
                divisor = max(1.0, privacy.rate * len(site)) if row.simulated else privacy.batch_patients
                mean.add(local_update(plan, noise, divisor, model, site, bits), len(site) if row.simulated else 1.0)
            update = mean.result()
        model, state = strategy(model, update, state)
        if number >= plan.federation.rounds - plan.federation.average_last:
            last.add(model, 1.0)
    return last.result()
