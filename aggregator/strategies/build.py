"""The plan's strategy."""

from __future__ import annotations

from aggregator.strategies.adaptive import Adaptive as AdaptiveStep
from aggregator.strategies.average import FedAvg, FedAvgM
from aggregator.strategies.base import Strategy
from protocol.plan.federation import Adaptive, Average, Momentum


def build_strategy(plan: Average | Momentum | Adaptive) -> Strategy:
    """The pure function that `federation.strategy` names."""
    if isinstance(plan, Average):
        return FedAvg(plan.lr)
    if isinstance(plan, Momentum):
        return FedAvgM(plan.lr, plan.momentum)
    return AdaptiveStep(plan.name, plan.lr, plan.beta1, plan.beta2, plan.tau)
