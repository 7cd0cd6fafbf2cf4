"""The plan's optimiser and its learning rate over the rounds."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

from protocol.plan.training import Adam, Schedule, Sgd


def build_optimiser(plan: Sgd | Adam, parameters: Iterable[torch.nn.Parameter], lr_factor: float) -> torch.optim.Optimizer:
    """A fresh optimiser whose rate is `lr_factor` times the plan's."""
    lr = plan.lr * lr_factor
    if isinstance(plan, Sgd):
        return torch.optim.SGD(
            parameters, lr=lr, momentum=plan.momentum, nesterov=plan.nesterov, weight_decay=plan.weight_decay
        )
    kind = torch.optim.AdamW if plan.name == "AdamW" else torch.optim.Adam
    return kind(parameters, lr=lr, betas=(plan.beta1, plan.beta2), weight_decay=plan.weight_decay)


def lr_factor(schedule: Schedule, round_number: int, rounds: int) -> float:
    """The learning rate of round `round_number` (1 to `rounds`) as a fraction of the plan's."""
    if round_number <= schedule.warmup_rounds:
        return round_number / (schedule.warmup_rounds + 1)
    if schedule.name == "cosine":
        span = max(1, rounds - schedule.warmup_rounds)
        progress = (round_number - schedule.warmup_rounds - 1) / span
        return schedule.final_factor + (1.0 - schedule.final_factor) * 0.5 * (1.0 + math.cos(math.pi * progress))
    if schedule.name == "step":
        return float(schedule.step_factor ** ((round_number - 1) // schedule.step_rounds))
    return 1.0
