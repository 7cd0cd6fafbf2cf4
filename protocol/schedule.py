"""The learning rate over the rounds, as the plan's schedule says; the same at the silos and at the aggregator."""

from __future__ import annotations

import math

from protocol.plan.training import Schedule


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
