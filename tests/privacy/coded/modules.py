"""Modules that a plan brings along, and plans with them: MONAI's Classifier in other words, and some that mean harm."""

from __future__ import annotations

import copy
from typing import Any

from protocol.canonical import digest_bytes
from protocol.plan import Plan
from silo_node.policy import Policy
from tests.conftest import GENEROUS, TINY, tiny_plan

ALLOWS_CODE: Policy = GENEROUS.model_copy(update={"custom_code": "approved"})

SAME = """
from torch import nn
from monai.networks.nets import Classifier

class Net(Classifier):
    pass

def loss(logits, labels):
    return nn.functional.cross_entropy(logits, labels)
"""
"""The tiny plan's own network and loss."""

WRITTEN_OUT = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width, classes=2):
        super().__init__()
        self.first = nn.Conv2d(1, width, 3, stride=2, padding=1)
        self.norm = nn.GroupNorm(2, width)
        self.last = nn.Linear(width, classes)

    def forward(self, images):
        return self.last(torch.relu(self.norm(self.first(images))).mean((2, 3)))

def loss(logits, labels):
    return nn.functional.cross_entropy(logits, labels)
"""


def coded(source: str, network: str | None = "Net", loss: str | None = None, **changes: Any) -> Plan:
    """The tiny plan with this module; a network or a loss that is None is MONAI's and cross-entropy."""
    own = {} if network is None else {"network": {"name": f"code.{network}", "args": copy.deepcopy(TINY["network"]["args"])}}
    if loss is not None:
        own["training.loss"] = {"name": f"code.{loss}"}
    turns = {"turns_per_step": 16, "turns_per_score": 24} if "privacy" in changes else {}
    module = {"file": "mine.py", "source": source, "sha256": digest_bytes(source.encode()), **turns}
    return tiny_plan(**{"code": module, **own, **changes})
