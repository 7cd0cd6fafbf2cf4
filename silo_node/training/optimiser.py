"""The plan's optimiser."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from protocol.plan.training import Adam, Sgd


def build_optimiser(plan: Sgd | Adam, parameters: Iterable[torch.nn.Parameter], lr_factor: float) -> torch.optim.Optimizer:
    """A fresh optimiser whose rate is `lr_factor` times the plan's."""
    lr = plan.lr * lr_factor
    if isinstance(plan, Sgd):
        return torch.optim.SGD(
            parameters, lr=lr, momentum=plan.momentum, nesterov=plan.nesterov, weight_decay=plan.weight_decay
        )
    kind = torch.optim.AdamW if plan.name == "AdamW" else torch.optim.Adam
    return kind(parameters, lr=lr, betas=(plan.beta1, plan.beta2), weight_decay=plan.weight_decay)
